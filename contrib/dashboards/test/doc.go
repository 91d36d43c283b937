// Package dashboards holds the tests of the dashboard, the alert rules and the scrape configuration beside it. They are a
// module of their own because Prometheus is a heavy dependency.
package dashboards
