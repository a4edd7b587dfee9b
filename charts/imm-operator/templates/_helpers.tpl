{{/* Name of the chart, as a label value. */}}
{{- define "imm-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of the release's objects: the release's own name when it already says what this is. */}}
{{- define "imm-operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "imm-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "imm-operator.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{/* Labels that never change during the life of a release: a Deployment's selector is immutable. */}}
{{- define "imm-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "imm-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "imm-operator.labels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "imm-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Metadata lines that the generator puts into every custom resource definition. */}}
{{- define "imm-operator.crdMetadata" -}}
{{- $annotations := merge (dict) .Values.crds.annotations .Values.commonAnnotations -}}
{{- if .Values.crds.keep -}}
{{- $_ := set $annotations "helm.sh/resource-policy" "keep" -}}
{{- end -}}
{{- with $annotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{ end -}}
labels:
  {{- include "imm-operator.labels" . | nindent 2 }}
{{- end }}

{{- define "imm-operator.image" -}}
{{- $image := .Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end }}
{{- end }}

{{/* The subject of every binding to the operator. */}}
{{- define "imm-operator.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "imm-operator.serviceAccountName" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}

{{/* What the operator does in the namespaces it looks after; the same rules in a ClusterRole or in Roles. */}}
{{- define "imm-operator.rules" -}}
rules:
  # Follow grants and jobs; patch sets finalizers and the mark of a started job.
  - apiGroups: [immops.dev]
    resources: [immbucketgrants, imagescorejobs]
    verbs: [get, list, watch, patch]
  # Status is replaced as a whole, with the resourceVersion it was planned from.
  - apiGroups: [immops.dev]
    resources: [immbucketgrants/status, imagescorejobs/status]
    verbs: [update]
  # Results of large jobs: written by the operator alone, and removed when their time is over.
  - apiGroups: [immops.dev]
    resources: [imagescorereports]
    verbs: [list, create, update, delete]
  # Tell what was done, once per change of state.
  - apiGroups: [events.k8s.io]
    resources: [events]
    verbs: [create, patch]
{{- end }}
