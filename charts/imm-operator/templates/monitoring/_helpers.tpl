{{/* Whether to render an object of the Prometheus operator: a list of the context, the kind, the name of the value block, and
     the block. Empty means no. */}}
{{- define "imm-operator.rendersMonitoring" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $block := index . 3 -}}
{{- if $block.enabled -}}
{{- if or (eq $block.renderMode "always") ($root.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" $kind)) -}}
yes
{{- else if eq $block.renderMode "failIfMissing" -}}
{{- fail (printf "metrics.%s.renderMode is failIfMissing, and the cluster has no kind %s (monitoring.coreos.com/v1): install the Prometheus operator first, or set renderMode to skipIfMissing" (index . 2) $kind) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Metadata of an object for monitoring: a list of the context, the end of its name, and its value block. */}}
{{- define "imm-operator.monitoringMetadata" -}}
{{- $root := index . 0 -}}
{{- $block := index . 2 -}}
{{- $namespace := default $root.Release.Namespace $block.namespace -}}
name: {{ include "imm-operator.nameIn" (list $root (index . 1) $namespace) | quote }}
namespace: {{ $namespace | quote }}
{{ include "imm-operator.marks" (list $root $block.labels $block.annotations) }}
{{- end }}

{{/* How to scrape the port, for a ServiceMonitor and for a PodMonitor. */}}
{{- define "imm-operator.endpoint" -}}
path: /metrics
{{- with .interval }}
interval: {{ . | quote }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . | quote }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels of the Service for metrics, by which the ServiceMonitor selects it. */}}
{{- define "imm-operator.serviceLabels" -}}
{{- include "imm-operator.selectorLabels" . }}
app.kubernetes.io/component: metrics
{{- end }}

{{/* A Service: its name starts with a letter, has no dot, which a release may have, and at most 63 characters with the suffix. */}}
{{- define "imm-operator.metricsServiceName" -}}
{{- $name := include "imm-operator.fullname" . | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $name -}}
{{- $name = printf "imm-%s" $name -}}
{{- end -}}
{{- printf "%s-metrics" ($name | trunc 55 | trimAll "-") -}}
{{- end }}

{{/* Whether there is a Service for metrics. Empty means no. */}}
{{- define "imm-operator.hasMetricsService" -}}
{{- $metrics := .Values.metrics -}}
{{- if or $metrics.service.enabled (include "imm-operator.rendersMonitoring" (list . "ServiceMonitor" "serviceMonitor" $metrics.serviceMonitor)) -}}
yes
{{- end -}}
{{- end }}
