{{/* What the Pods of the operator and of `helm test` have in common: the test asks from where the operator works. */}}

{{/* Pod: who it is. */}}
{{- define "ramtrail.pod.identity" -}}
serviceAccountName: {{ include "ramtrail.serviceAccountName" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automount }}
enableServiceLinks: false
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Pod: where it runs and what it reaches. */}}
{{- define "ramtrail.pod.place" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $ca := .Values.cloudCA }}
{{- $hasCA := or $ca.configMapName $ca.secretName }}
{{- if or $hasCA .Values.extraVolumes }}
volumes:
  {{- if $hasCA }}
  - name: cloud-ca
    {{- if $ca.configMapName }}
    configMap:
      name: {{ $ca.configMapName }}
    {{- else }}
    secret:
      secretName: {{ $ca.secretName }}
    {{- end }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Arguments: which cluster, which namespaces, which cloud. */}}
{{- define "ramtrail.container.arguments" -}}
- --namespace=$(POD_NAMESPACE)
{{- with .Values.clusterID }}
- --cluster-id={{ . }}
{{- end }}
{{- with .Values.watchNamespaces }}
- --watch-namespaces={{ join "," . }}
{{- end }}
- --network={{ .Values.network }}
{{- with .Values.cloudEndpoint }}
- --cloud-endpoint={{ . }}
{{- end }}
{{- if or .Values.cloudCA.configMapName .Values.cloudCA.secretName }}
- --cloud-ca-file=/etc/ramtrail/cloud-ca/{{ .Values.cloudCA.key }}
{{- end }}
- --lease-name={{ include "ramtrail.fullname" . }}
{{- end -}}

{{/* Container: its environment, rights, files and resources. */}}
{{- define "ramtrail.container.surroundings" -}}
image: {{ include "ramtrail.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  {{- include "ramtrail.environment" . | nindent 2 }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $hasCA := or .Values.cloudCA.configMapName .Values.cloudCA.secretName }}
{{- if or $hasCA .Values.extraVolumeMounts }}
volumeMounts:
  {{- if $hasCA }}
  - name: cloud-ca
    mountPath: /etc/ramtrail/cloud-ca
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
