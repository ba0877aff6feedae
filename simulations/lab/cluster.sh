#!/bin/sh
# Usage: cluster.sh [AGENT-CONFIG], as JSON.
# Runs on a lab kernel: the embedded cluster with two pods, and a request from one to the other over each family. Prints both
# answers, of what kind a pod's link is, then how many namespaces, pins and processes are left after the end.
set -eu
work=$(mktemp -d)
# Not among the manifests.
agent=$(mktemp)
cat >"$work/pods.yaml" <<'YAML'
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: default }
spec:
  containers: [{ name: client, image: any, command: [sleep, infinity] }]
---
apiVersion: v1
kind: Pod
metadata: { name: server, namespace: default }
spec:
  containers: [{ name: server, image: any, ports: [{ containerPort: 8080 }] }]
YAML
config=${1:-}
echo "${config:-"{}"}" >"$agent"
cli/axoneme up --name lab --agent-config "$agent" --manifests "$work" --ready-file "$work/ready" --kubeconfig "$work/kubeconfig" >"$work/log" 2>&1 &
up=$!
while ! [ -e "$work/ready" ]; do
  kill -0 $up || { cat "$work/log"; exit 1; }
  sleep 1
done
for address in $(kubectl --kubeconfig "$work/kubeconfig" get pod server -o 'jsonpath={.status.podIPs[*].ip}'); do
  case $address in *:*) address="[$address]" ;; esac
  cli/axoneme exec --name lab default/client -- curl --silent --show-error --max-time 60 "http://$address:8080/"
done
cli/axoneme exec --name lab default/client -- ip -d link show eth0 | grep -o -w 'veth\|netkit' | tail -n 1
kill $up
wait $up || true
echo "left: $(ip netns | wc -l) namespaces, $(find /sys/fs/bpf -mindepth 1 | grep -c . || true) pins"
