// Package server is how others see and touch the agent: one tree of HTTP handlers behind two doors. The unix socket can
// be opened by root alone, who may do everything. The TLS door (RunTLS) is shut until somebody could be let in; there each
// route asks for one Action.
//
//	GET    /healthz[/{part}][?verbose]                 "ok"; open on the loopback address, else read
//	GET    /version                                    read         Version
//	GET    /pods[?watch=true]                          read         v1.PodList with full status, or Kubernetes watch events
//	GET    /runningpods/                               read         v1.PodList of what runs, names and images only
//	GET    /problems                                   read         []Problem, what is wrong in the manifests
//	GET    /events[?namespace=&name=&watch=true]       read         v1.EventList, or watch events
//	GET    /configz                                    read         {"agent": the configuration}
//	GET    /images                                     read         []podmgr.Image
//	POST   /images/pull?ref=                           admin        podmgr.ImageLine after podmgr.ImageLine
//	POST   /images/import                              admin        the same; the body is an OCI or docker archive
//	DELETE /images?ref=[&force=true]                   admin        409 while a wanted pod names it
//	POST   /restart/{namespace}/{pod}                  admin        202; the containers end and are started again
//	GET    /metrics[/cadvisor|/resource|/probes]       metrics      Prometheus text; served once HandleNumbers was called
//	GET    /stats/summary                              metrics      stats.Summary; the same
//	GET    /logs/{path}                                admin        files of /var/log
//	GET    /containerLogs/{namespace}/{pod}/{container}[?follow,previous,tailLines,sinceSeconds,sinceTime,timestamps,limitBytes]   logs
//	*      /exec/{namespace}/{pod}[/{uid}]/{container}?command=&input=&output=&error=&tty=     exec         SPDY or WebSocket
//	POST   /run/{namespace}/{pod}[/{uid}]/{container}?cmd=                                     exec         the output
//	*      /attach/{namespace}/{pod}[/{uid}]/{container}?input=&output=&error=                 attach       SPDY or WebSocket
//	*      /portForward/{namespace}/{pod}[/{uid}]                                              portforward  SPDY, also in a WebSocket
//
// Paths and encodings are the kubelet's where it has them. Errors are Kubernetes
// metav1.Status objects.
//
// The server owns nothing: it reads the board, the images and the logs through small interfaces.
package server
