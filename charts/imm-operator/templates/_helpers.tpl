{{/* Replaces values that are null or missing by their defaults; every template starts with it. A null reaches the templates
     from a key without a value, and `--reuse-values` of an older release lacks whole blocks. A missing replicaCount stays
     missing, and the schema requires tenancy, because defaults would drop its rules. Other members that are null are left
     out, except in values that belong to others. */}}
{{- define "imm-operator.prepare" -}}
{{- $defaults := include "imm-operator.defaults" . | fromYaml -}}
{{- include "imm-operator.fill" (list .Values (omit $defaults "replicaCount" "tenancy")) -}}
{{- range $name, $value := omit .Values "global" "tenancy" "extraObjects" -}}
{{- include "imm-operator.withoutNull" $value -}}
{{- end -}}
{{- end }}

{{/* Removes the members that are null from a map or a list, at every level. */}}
{{- define "imm-operator.withoutNull" -}}
{{- $value := . -}}
{{- range $name, $member := kindIs "map" . | ternary . dict -}}
{{- if kindIs "invalid" $member }}{{ $_ := unset $value $name }}{{ else }}{{ include "imm-operator.withoutNull" $member }}{{ end -}}
{{- end -}}
{{- range kindIs "slice" . | ternary . list }}{{ include "imm-operator.withoutNull" . }}{{ end -}}
{{- end }}

{{/* Fills one block, and the blocks in it. A member of a free map can be removed with null, so those are not filled. */}}
{{- define "imm-operator.fill" -}}
{{- $values := index . 0 -}}
{{- range $name, $default := index . 1 -}}
{{- if kindIs "invalid" (index $values $name) -}}
{{- $_ := set $values $name $default -}}
{{- else if and (kindIs "map" $default) (not (has $name (list "podSecurityContext" "securityContext" "resources" "labels"))) -}}
{{- include "imm-operator.fill" (list (index $values $name) $default) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Name of the chart, as a label value. */}}
{{- define "imm-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimAll "-_." }}
{{- end }}

{{/* Name of the release's objects: the release name alone if it contains the chart name. */}}
{{- define "imm-operator.fullname" -}}
{{- /* An alias in a parent chart may have capitals and "_". */ -}}
{{- $name := default .Chart.Name .Values.nameOverride | lower | replace "_" "-" | trimAll "-" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimAll "-." }}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimAll "-." }}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimAll "-." }}
{{- end -}}
{{- end }}

{{- define "imm-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "imm-operator.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- required "serviceAccount.name is required with serviceAccount.create=false: name an existing ServiceAccount" .Values.serviceAccount.name }}
{{- end -}}
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
{{- $chart := printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." -}}
{{- $defaults := dict "helm.sh/chart" $chart "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- merge $fixed (index . 1) $root.Values.commonLabels $defaults | toYaml }}
{{- end }}

{{/* Labels and annotations of one object: a list of the context, its additional labels and its additional annotations.
     Both win over those of every object. */}}
{{- define "imm-operator.marks" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "imm-operator.labelsWith" (list $root (index . 1)) | nindent 2 }}
{{- with merge (dict) (index . 2) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Metadata of one object: a list of the context, its name, and its namespace unless it has none. */}}
{{- define "imm-operator.metadata" -}}
name: {{ index . 1 | quote }}
{{- if gt (len .) 2 }}
namespace: {{ index . 2 | quote }}
{{- end }}
{{ include "imm-operator.marks" (list (index . 0) dict dict) }}
{{- end }}

{{/* Name of an object that has the full name and a suffix: a list of the context, the suffix and the namespace. Outside the
     namespace of the release, a release of the same name in another namespace can have one there too. */}}
{{- define "imm-operator.nameIn" -}}
{{- $own := (index . 0).Release.Namespace -}}
{{- include "imm-operator.fullname" (index . 0) }}{{ index . 1 }}{{ eq (index . 2) $own | ternary "" (printf ".%s" $own) -}}
{{- end }}

{{/* Metadata of every CRD; `make generate` inserts the call. */}}
{{- define "imm-operator.crdMetadata" -}}
{{- $annotations := merge (dict) .Values.crds.annotations -}}
{{- if .Values.crds.keep -}}
{{- $_ := set $annotations "helm.sh/resource-policy" "keep" -}}
{{- end -}}
{{- include "imm-operator.marks" (list . dict $annotations) }}
{{- end }}

{{/* Name of the image: the registry of the chart wins over the one of all charts, and both over the one that releases push to;
     the digest wins over the tag. A release writes the digest of its image into the chart: not as a value, which `--reuse-values`
     would carry into the next version. A copy of the image can have another digest, so it holds for this place alone. */}}
{{- define "imm-operator.image" -}}
{{- $image := .Values.image -}}
{{- $place := printf "%s/%s" (coalesce $image.registry (trimSuffix "/" .Values.global.imageRegistry) "ghcr.io") $image.repository -}}
{{- $digest := $image.digest -}}
{{- if not (or $digest $image.tag (ne $place "ghcr.io/imm-operator/imm-operator")) -}}
{{- $digest = index .Chart.Annotations "immops.dev/image-digest" -}}
{{- end -}}
{{- $place }}
{{- if $digest }}@{{ $digest }}{{ else }}:{{ default .Chart.AppVersion $image.tag }}{{ end }}
{{- end }}

{{/* Pull secrets of all charts and of this one, each once. */}}
{{- define "imm-operator.pullSecrets" -}}
{{- $secrets := list -}}
{{- range concat .Values.imagePullSecrets .Values.global.imagePullSecrets -}}
{{- $name := kindIs "map" . | ternary . (dict "name" .) -}}
{{- $secrets = append $secrets (pick $name "name") -}}
{{- end -}}
{{- with uniq $secrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end }}

{{/* The subject of every binding to the operator. */}}
{{- define "imm-operator.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "imm-operator.serviceAccountName" . | quote }}
    namespace: {{ .Release.Namespace | quote }}
{{- end }}

{{/* Whether the PodDisruptionBudget allows no disruption, however many Pods are available. Empty means that it allows one. */}}
{{- define "imm-operator.noDisruption" -}}
{{- $budget := .Values.podDisruptionBudget -}}
{{- $pods := int64 (default 0 .Values.replicaCount) -}}
{{- if and $budget.enabled (gt $pods 1) -}}
{{- $least := toString $budget.minAvailable -}}
{{- $share := trimSuffix "%" $least | int64 -}}
{{- /* Kubernetes rounds a share of the Pods up. */ -}}
{{- if hasSuffix "%" $least }}{{ $share = div (add (mul $pods $share) 99) 100 }}{{ end -}}
{{- if ne $least "" | ternary (ge $share $pods) (has (toString $budget.maxUnavailable) (list "0" "0%" "00%")) -}}
yes
{{- end -}}
{{- end -}}
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

{{/* Whether a tenancy rule selects namespaces by labels. Empty means no. */}}
{{- define "imm-operator.readsLabels" -}}
{{- range .Values.tenancy.rules }}{{ if .namespaces.matchLabels }}yes{{ end }}{{ end -}}
{{- end }}

{{/* Permission for the labels of namespaces. A Role in a namespace allows reading the namespace itself, and no other. */}}
{{- define "imm-operator.labelsRule" -}}
# Read the namespace labels that tenancy rules match.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end }}

{{/* Permission for copies of bucket policies, in their namespace. */}}
{{- define "imm-operator.backupRule" -}}
# Store a copy of the bucket policy before each write.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, update]
{{- end }}
