{{- /* Generated from values.yaml by `make generate`: change that. */}}
{{- define "imm-operator.defaults" -}}
enabled: true
global:
  imageRegistry: ""
  imagePullSecrets: []
replicaCount: 1
revisionHistoryLimit: 3
updateStrategy: {}
image:
  registry: ""
  repository: imm-operator/imm-operator
  tag: ""
  digest: ""
  pullPolicy: IfNotPresent
imagePullSecrets: []
nameOverride: ""
fullnameOverride: ""
crds:
  enabled: true
  keep: true
  allowDeletion: false
  annotations: {}
allowSharedNamespace: false
watchNamespaces: []
serviceAccount:
  create: true
  name: ""
  annotations: {}
  automount: true
automountServiceAccountToken: true
secretAccess:
  namespaces: []
credentials:
  existingSecret: ""
  source: ""
  ecsRole: ""
  uri: ""
rrsa:
  roleName: ""
backups:
  namespace: ""
tenancy:
  strict: false
  rules: []
aggregatedRoles:
  enabled: true
network: ""
region: ""
endpoints:
  oss: ""
  imm: ""
  sts: ""
  regions:
    oss: {}
    imm: {}
    sts: {}
logging:
  level: info
  format: json
adminPort: 8080
metrics:
  service:
    enabled: false
    annotations: {}
  serviceMonitor:
    enabled: false
    renderMode: skipIfMissing
    namespace: ""
    labels: {}
    annotations: {}
    interval: 30s
    scrapeTimeout: ""
    relabelings: []
    metricRelabelings: []
  podMonitor:
    enabled: false
    renderMode: skipIfMissing
    namespace: ""
    labels: {}
    annotations: {}
    interval: 30s
    scrapeTimeout: ""
    relabelings: []
    metricRelabelings: []
  rules:
    enabled: false
    renderMode: skipIfMissing
    namespace: ""
    labels: {}
    annotations: {}
    selector: ""
    disabled: []
    maxBillableRequestsPerHour: null
    alertLabels: {}
    runbookURL: https://github.com/imm-operator/imm-operator/blob/main/docs/src/operate/alerts.md
  dashboard:
    enabled: false
    namespace: ""
    labels:
      grafana_dashboard: "1"
    annotations: {}
networkPolicy:
  enabled: false
  apiServerPorts: [6443]
  metricsFrom: []
  extraIngress: []
  extraEgress: []
podDisruptionBudget:
  enabled: true
  minAvailable: ""
  maxUnavailable: 1
resources:
  requests:
    cpu: 10m
    memory: 32Mi
  limits:
    memory: 256Mi
podSecurityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop:
      - ALL
selftest:
  enabled: true
hostUsers: null
hostNetwork: false
dnsPolicy: ""
dnsConfig: {}
hostAliases: []
runtimeClassName: ""
schedulerName: ""
terminationGracePeriodSeconds: 90
startupProbe:
  initialDelaySeconds: 0
  periodSeconds: 2
  timeoutSeconds: 1
  failureThreshold: 30
livenessProbe:
  initialDelaySeconds: 0
  periodSeconds: 10
  timeoutSeconds: 1
  failureThreshold: 3
readinessProbe:
  initialDelaySeconds: 0
  periodSeconds: 5
  timeoutSeconds: 1
  failureThreshold: 3
deploymentAnnotations: {}
podLabels: {}
podAnnotations: {}
commonLabels: {}
commonAnnotations: {}
priorityClassName: ""
nodeSelector: {}
tolerations: []
affinity: {}
topologySpreadConstraints: []
extraArgs: []
extraEnv: []
extraEnvFrom: []
extraVolumes: []
extraVolumeMounts: []
extraObjects: []
{{- end }}
