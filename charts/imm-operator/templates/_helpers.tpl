{{/* Name of the chart, as a label value. */}}
{{- define "imm-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of the release's objects: the release name alone if it contains the chart name. */}}
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
{{- required "serviceAccount.name is required with serviceAccount.create=false: name an existing ServiceAccount" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{/* Refuses namespaces in which many principals can write ConfigMaps and Leases. */}}
{{- define "imm-operator.refusals" -}}
{{- range $what, $namespace := dict "the release" .Release.Namespace "backups.namespace" .Values.backups.namespace -}}
{{- if has $namespace (list "default" "kube-system" "kube-public" "kube-node-lease") -}}
{{- fail (printf "%s must not be in namespace %s: a user who can write ConfigMaps there could change the tenancy rules or the backups; use a namespace of its own, such as imm-system" $what $namespace) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Refuses an identity that is configured twice or incompletely, as the operator does at its start. */}}
{{- define "imm-operator.identity" -}}
{{- $identity := .Values.credentials -}}
{{- if and $identity.existingSecret $identity.source (ne $identity.source "folder") -}}
{{- fail (printf "credentials.source %s excludes credentials.existingSecret: remove one of them" $identity.source) -}}
{{- end -}}
{{- if and (eq $identity.source "folder") (not $identity.existingSecret) -}}
{{- fail "credentials.source folder needs credentials.existingSecret: name a Secret" -}}
{{- end -}}
{{- if and (eq $identity.source "uri") (not $identity.uri) (not (include "imm-operator.hasCredentialsUri" .)) -}}
{{- fail "credentials.source uri needs credentials.uri: set it, or ALIBABA_CLOUD_CREDENTIALS_URI in extraEnv" -}}
{{- end -}}
{{- range $value, $source := dict "ecsRole" "ecs" "uri" "uri" -}}
{{- if and (index $identity $value) (ne $identity.source $source) -}}
{{- fail (printf "credentials.%s needs credentials.source %s: set it, or remove credentials.%s" $value $source $value) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "imm-operator.hasCredentialsUri" -}}
{{- range .Values.extraEnv }}{{ if eq .name "ALIBABA_CLOUD_CREDENTIALS_URI" }}yes{{ end }}{{ end -}}
{{- end }}

{{/* Labels that never change for a release: the selector of a Deployment is immutable. */}}
{{- define "imm-operator.selectorLabels" -}}
{{- dict "app.kubernetes.io/name" (include "imm-operator.name" .) "app.kubernetes.io/instance" .Release.Name | toYaml }}
{{- end }}

{{/* Labels of one object: a list of the context and its additional labels. Each key appears once: the selector and the
     label that Helm requires take precedence over additional labels, commonLabels, and the chart's other labels. */}}
{{- define "imm-operator.labelsWith" -}}
{{- $root := index . 0 -}}
{{- $fixed := include "imm-operator.selectorLabels" $root | fromYaml -}}
{{- $_ := set $fixed "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $chart := printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- $defaults := dict "helm.sh/chart" $chart "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- merge $fixed (index . 1) $root.Values.commonLabels $defaults | toYaml }}
{{- end }}

{{- define "imm-operator.labels" -}}
{{- include "imm-operator.labelsWith" (list . dict) }}
{{- end }}

{{/* Metadata of every CRD; `make generate` inserts the call. */}}
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
    name: {{ include "imm-operator.serviceAccountName" . | quote }}
    namespace: {{ .Release.Namespace | quote }}
{{- end }}

{{/* Permissions in the watched namespaces; the same rules for a ClusterRole and for Roles. */}}
{{- define "imm-operator.rules" -}}
rules:
  # Watch grants and jobs; patch sets finalizers and the started annotation of a job.
  - apiGroups: [immops.dev]
    resources: [immbucketgrants, imagescorejobs]
    verbs: [get, list, watch, patch]
  # The status is replaced as a whole, with the resourceVersion that it was computed from.
  - apiGroups: [immops.dev]
    resources: [immbucketgrants/status, imagescorejobs/status]
    verbs: [update]
  # Results of large jobs: written only by the operator, deleted after their time to live.
  - apiGroups: [immops.dev]
    resources: [imagescorereports]
    verbs: [list, create, update, delete]
  # Report each change of state once.
  - apiGroups: [events.k8s.io]
    resources: [events]
    verbs: [create, patch]
{{- end }}

{{/* Permission for copies of bucket policies, in their namespace. */}}
{{- define "imm-operator.backupRule" -}}
# Store a copy of the bucket policy before each write.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, update]
{{- end }}
