{{- /* Every pod: an ordinary user without capabilities, on a file system that cannot be written but for its volumes. */ -}}
{{- define "autocast.podSecurity" -}}
{runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
{{- end -}}

{{- define "autocast.containerSecurity" -}}
{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end -}}

{{- define "autocast.volumes" -}}
- {name: work, emptyDir: {}}
- {name: tmp, emptyDir: {}}
{{- end -}}

{{- define "autocast.volumeMounts" -}}
- {name: work, mountPath: /var/lib/autocast}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{- /* Where programs keep what they write. */ -}}
{{- define "autocast.folders" -}}
- {name: HOME, value: /var/lib/autocast}
- {name: PREFECT_HOME, value: /var/lib/autocast/prefect}
{{- end -}}

{{- /* Log lines of Prefect's programs: the name of a formatter in its logging configuration. */ -}}
{{- define "autocast.prefectLog" -}}
- {name: PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER, value: {{ .Values.logFormat }}}
{{- end -}}

{{- /* A variable from the secret: list . NAME KEY OPTIONAL */ -}}
{{- define "autocast.secret" -}}
{{- $ := index . 0 -}}
- name: {{ index . 1 }}
  valueFrom: {secretKeyRef: {name: {{ $.Values.secretName }}, key: {{ index . 2 }}, optional: {{ index . 3 }}}}
{{- end -}}

{{- define "autocast.s3" -}}
{{ include "autocast.secret" (list . "AWS_ACCESS_KEY_ID" "AWS_ACCESS_KEY_ID" true) }}
{{ include "autocast.secret" (list . "AWS_SECRET_ACCESS_KEY" "AWS_SECRET_ACCESS_KEY" true) }}
{{- end -}}

{{- /* The pool's template: dict "root" . "image" IMAGE "resources" (cpu, memory) "gpu" BOOLEAN */ -}}
{{- define "autocast.pool" -}}
{{- $pool := .root.Files.Get "files/work-pool.json" | fromJson -}}
{{- $properties := $pool.variables.properties -}}
{{- $_ := set $properties.image "default" .image -}}
{{- $_ := set $properties.image_pull_policy "default" .root.Values.images.pullPolicy -}}
{{- $_ := set $properties.namespace "default" .root.Release.Namespace -}}
{{- $_ := set $properties.cpu "default" .resources.cpu -}}
{{- $_ := set $properties.memory "default" .resources.memory -}}
{{- $container := index $pool.job_configuration.job_manifest.spec.template.spec.containers 0 -}}
{{- /* A run's own variables are put in front of these (prefect-kubernetes). */ -}}
{{- $root := .root -}}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "PREFECT_API_AUTH_STRING" "PREFECT_API_KEY" "MLFLOW_TRACKING_USERNAME" "MLFLOW_TRACKING_PASSWORD" "MLFLOW_TRACKING_TOKEN" "AUTOCAST_SIGNING_PASSWORD" "AUTOCAST_NOTIFY_URL" -}}
{{- $_ := set $container "env" (append $container.env (include "autocast.secret" (list $root . . true) | fromYamlArray | first)) -}}
{{- end -}}
{{- if .gpu -}}
{{- $_ := set $container.resources.requests "nvidia.com/gpu" 1 -}}
{{- $_ := set $container.resources.limits "nvidia.com/gpu" 1 -}}
{{- end -}}
{{- toPrettyJson $pool -}}
{{- end -}}
