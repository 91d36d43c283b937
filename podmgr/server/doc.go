// Package server is how others see and touch the agent: HTTP over a unix socket that only root can open.
//
//	GET    /healthz                                   "ok"
//	GET    /version                                   Version
//	GET    /pods[?watch=true]                         v1.PodList with full status, or Kubernetes watch events
//	GET    /runningpods/                              v1.PodList of what runs, names and images only
//	GET    /problems                                  []Problem, what is wrong in the manifests
//	GET    /events[?namespace=&name=&watch=true]      v1.EventList, or watch events
//	GET    /containerLogs/{namespace}/{pod}/{container}[?follow,previous,tailLines,sinceSeconds,sinceTime,timestamps,limitBytes]
//	GET    /images                                    []podmgr.Image
//	POST   /images/pull?ref=                          podmgr.ImageLine after podmgr.ImageLine
//	POST   /images/import                             the same; the body is an OCI or docker archive
//	DELETE /images?ref=[&force=true]                  409 while a wanted pod names it
//
// Paths and encodings are the kubelet's where it has them. Errors are Kubernetes metav1.Status objects.
//
// The server owns nothing: it reads the board, the images and the logs through small interfaces.
package server
