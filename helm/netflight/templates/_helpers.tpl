{{- define "netflight.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters leave room for a component's name and the suffixes of pods within 63. */}}
{{- define "netflight.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "netflight.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "netflight.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "netflight.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "netflight.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Labels take (dict "root" $ "component" "worker"). */}}
{{- define "netflight.selectorLabels" -}}
app.kubernetes.io/name: {{ include "netflight.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "netflight.labels" -}}
{{ include "netflight.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: netflight
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* A pod's metadata: (dict "root" $ "component" "worker" "part" .Values.worker). */}}
{{- define "netflight.podMetadata" -}}
labels:
  {{- include "netflight.labels" . | nindent 2 }}
  {{- with .part.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .part.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What every pod has. Service links would add NETFLIGHT_... variables named after the services around. */}}
{{- define "netflight.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml . | nindent 4 }}
    labelSelector:
      matchLabels:
        {{- include "netflight.selectorLabels" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "netflight.container" -}}
image: {{ include "netflight.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
resources:
  {{- toYaml .part.resources | nindent 2 }}
{{- end -}}

{{- define "netflight.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* Values that contradict each other, told at once instead of by a pod that fails. */}}
{{- define "netflight.check" -}}
{{- with .Values.elasticsearch -}}
{{- if and .apiKey.secret (or .username .password.secret) -}}
{{- fail "elasticsearch: apiKey.secret or username with password.secret, not both" -}}
{{- end -}}
{{- if ne (empty .username) (empty .password.secret) -}}
{{- fail "elasticsearch: username and password.secret go together" -}}
{{- end -}}
{{- end -}}
{{- range $name, $server := dict "kafka" .Values.kafka "elasticsearch" .Values.elasticsearch -}}
{{- if and $server.ca.secret $server.ca.configMap -}}
{{- fail (printf "%s.ca: secret or configMap, not both" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
