{{- define "ramtrail.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "ramtrail.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "ramtrail.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ramtrail.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "ramtrail.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ramtrail.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "ramtrail.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ramtrail.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ramtrail.labels" -}}
{{ include "ramtrail.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata of an object: a dict with "top", "name", and optionally "namespace", "labels", "annotations". */}}
{{- define "ramtrail.metadata" -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "ramtrail.labels" .top | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The image: the digest wins over the tag. */}}
{{- define "ramtrail.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What the operator may do with objects in the namespaces that it looks at. */}}
{{- define "ramtrail.objectRules" -}}
- apiGroups: [ramtrail.io]
  resources: [auditprojects, auditlogstores, ramtrails]
  # patch: the finalizer; specs belong to their users.
  verbs: [get, list, watch, patch]
- apiGroups: [ramtrail.io]
  resources: [auditprojects/status, auditlogstores/status, ramtrails/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [secrets]
  # Read one by one, by the name that an object gives; used only with the label ramtrail.io/credentials.
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* The operator's environment: its namespace and its own credentials. */}}
{{- define "ramtrail.environment" -}}
{{- $top := . -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- with .Values.credentials.secretName }}
{{- range list "ALIBABA_CLOUD_ACCESS_KEY_ID" "ALIBABA_CLOUD_ACCESS_KEY_SECRET" "ALIBABA_CLOUD_SECURITY_TOKEN" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $top.Values.credentials.secretName }}
      key: {{ . }}
      optional: true
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}
