// Package health answers "is it well": checks of containers, and of the agent itself.
package health
