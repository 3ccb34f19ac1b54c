"""Operations on a plan that is given: it is applied, its Casts are placed, it is carried to another model."""
