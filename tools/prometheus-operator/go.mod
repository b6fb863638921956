// Nothing is built of it: its CustomResourceDefinitions judge what the chart makes of its kinds.
module ramtrail.io/tools/prometheus-operator

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
