#!/usr/bin/env bash
# The agent in the place of the kubelet, for shared/conformance/run.sh, which gives everything in NC_* variables:
#
#   run.sh -n 6 -F expected-pass.txt -- contrib/e2e/conformance.sh                # the embedded containerd
#   run.sh -n 6 -F expected-pass.txt -- contrib/e2e/conformance.sh --containerd   # the harness' containerd
#
# AGENT is the program (default: bin/agent, where contrib/build puts it).
set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
engine=()
[ "${1:-}" != --containerd ] || { engine=(--containerd "$NC_CRI"); shift; }

: >"$NC_RUN/agent.yaml"
exec "${AGENT:-$here/../../bin/agent}" run --config "$NC_RUN/agent.yaml" "${engine[@]}" \
	--kubeconfig "$NC_KUBECONFIG" --hostname-override "$NC_NODE_NAME" --node-ip "$NC_NODE_IP" \
	--manifests "$NC_STATIC_PODS" --images "$NC_RUN/no-images" --root /var/lib/kubelet --state "$NC_RUN/agent" \
	--registry-config "$NC_REGISTRY_HOSTS" --cni-conf-dir "$NC_RUN/agent-cni" --bridge ncagent --pod-cidr 10.244.0.0/16 \
	--client-ca-file "$NC_CLIENT_CA" --tls-cert-file "$NC_SERVING_CERT" --tls-private-key-file "$NC_SERVING_KEY" \
	--authentication-token-webhook --authorization-mode Webhook \
	--cluster-dns 10.96.0.10 --cluster-domain cluster.local --serialize-image-pulls=false \
	--eviction-hard 'memory.available<100Mi,nodefs.available<1%,imagefs.available<1%,nodefs.inodesFree<1%' \
	--cgroup-driver cgroupfs --housekeeping-interval 10s --log-level "${AGENT_LOG_LEVEL:-info}" --log-format json "$@"
