{{/* The labels of everything that is installed. */}}
{{- define "ark.labels" -}}
app.kubernetes.io/name: ark
component: ark
{{- end }}
