/* A library of one custom operator for ONNX Runtime: my.ops::AddOne, y = x + 1 for FP32 tensors.
 *
 * The wheels of onnxruntime have no headers, so what is needed of them is declared here. ONNX Runtime keeps the order of
 * the functions of OrtApi and of the members of OrtCustomOp (onnxruntime_c_api.h). */
#include <stddef.h>
#include <stdint.h>

typedef void *(*Function)();
typedef struct {
  const Function *(*get_api)(uint32_t version);
} ApiBase;

enum {
  CREATE_CUSTOM_OP_DOMAIN = 26,
  CUSTOM_OP_DOMAIN_ADD = 27,
  ADD_CUSTOM_OP_DOMAIN = 28,
  GET_TENSOR_MUTABLE_DATA = 51,
  GET_DIMENSIONS_COUNT = 61,
  GET_DIMENSIONS = 62,
  GET_TENSOR_SHAPE_ELEMENT_COUNT = 64,
  GET_TENSOR_TYPE_AND_SHAPE = 65,
  KERNEL_CONTEXT_GET_INPUT = 90,
  KERNEL_CONTEXT_GET_OUTPUT = 91,
  RELEASE_TENSOR_TYPE_AND_SHAPE_INFO = 99
};

static const Function *api;

static void *create(const void *op, const void *functions, const void *info) { return (void *)&api; }
static const char *name(const void *op) { return "AddOne"; }
static const char *provider(const void *op) { return NULL; }
static int type(const void *op, size_t index) { return 1; }
static int required(const void *op, size_t index) { return 0; }
static size_t one(const void *op) { return 1; }
static void destroy(void *kernel) {}

static void compute(void *kernel, void *context) {
  const void *input = NULL;
  void *output = NULL, *shape = NULL;
  float *x = NULL, *y = NULL;
  size_t rank = 0, count = 0;
  int64_t dims[8];
  api[KERNEL_CONTEXT_GET_INPUT](context, (size_t)0, &input);
  api[GET_TENSOR_TYPE_AND_SHAPE](input, &shape);
  api[GET_DIMENSIONS_COUNT](shape, &rank);
  api[GET_DIMENSIONS](shape, dims, rank);
  api[GET_TENSOR_SHAPE_ELEMENT_COUNT](shape, &count);
  api[RELEASE_TENSOR_TYPE_AND_SHAPE_INFO](shape);
  api[KERNEL_CONTEXT_GET_OUTPUT](context, (size_t)0, dims, rank, &output);
  api[GET_TENSOR_MUTABLE_DATA](input, &x);
  api[GET_TENSOR_MUTABLE_DATA](output, &y);
  for (size_t i = 0; i < count; i++) y[i] = x[i] + 1;
}

static const struct {
  uint32_t version;
  void *(*create)(const void *, const void *, const void *);
  const char *(*name)(const void *);
  const char *(*provider)(const void *);
  int (*input_type)(const void *, size_t);
  size_t (*input_count)(const void *);
  int (*output_type)(const void *, size_t);
  size_t (*output_count)(const void *);
  void (*compute)(void *, void *);
  void (*destroy)(void *);
  int (*input_kind)(const void *, size_t);
  int (*output_kind)(const void *, size_t);
  Function later[16];
} add_one = {8, create, name, provider, type, one, type, one, compute, destroy, required, required};

void *RegisterCustomOps(void *options, const ApiBase *base) {
  void *domain = NULL;
  api = base->get_api(1);
  api[CREATE_CUSTOM_OP_DOMAIN]("my.ops", &domain);
  api[CUSTOM_OP_DOMAIN_ADD](domain, &add_one);
  return api[ADD_CUSTOM_OP_DOMAIN](options, domain);
}
