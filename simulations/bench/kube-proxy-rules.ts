/**
 * Rules in the layouts that kube-proxy programs for ClusterIP services, as text for nft and iptables-restore: all chains, maps and jumps,
 * and what one endpoint change sends.
 *
 * - Compared with the rules that kube-proxy's own tests expect (kubernetes/kubernetes, pkg/proxy/nftables/proxier_test.go, `baseRules` and
 *   TestOverallNFTablesRules) and, for iptables, with published dumps of nodes.
 * - Every service has the same number of endpoints; `of` tells their addresses.
 */
export interface Services {
  count: number;
  endpoints: number;
  port: number;
  targetPort: number;
  clusterIP(service: number): string;
  endpoint(service: number, endpoint: number): string;
}

/** Names are hashes in kube-proxy; here numbers as long as those. */
const name = (service: number): string => service.toString(32).toUpperCase().padStart(16, 'X');
const endpointName = (service: number, endpoint: number): string =>
  `${name(service)}${'ABCDEFGHIJKLMNOP'[endpoint]}`.slice(1);
const POD_CIDR = '10.0.0.0/8';

// --- nftables

const nftService = (i: number): string => `service-${name(i)}-demo/service-${i}/tcp/http`;
const nftEndpoint = (i: number, e: number, address: string, port: number): string =>
  `endpoint-${endpointName(i, e)}-demo/service-${i}/tcp/http__${address}/${port}`;

export function nftablesBase(): string {
  return `table ip kube-proxy {
  comment "rules for kube-proxy"
  set cluster-ips { type ipv4_addr; comment "Active ClusterIPs"; }
  set nodeport-ips { type ipv4_addr; comment "IPs that accept NodePort traffic"; }
  map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
  map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
  map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  map service-nodeports { type inet_proto . inet_service : verdict; }
  chain reject-chain { reject; }
  chain mark-for-masquerade { mark set mark or 0x4000; }
  chain masquerading {
    mark and 0x4000 == 0 return
    mark set mark xor 0x4000
    masquerade fully-random
  }
  chain cluster-ips-check {
    ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"
    ip daddr { 10.96.0.0/12 } drop comment "Drop traffic to unallocated ClusterIPs"
  }
  chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
  chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
  chain nodeport-endpoints-check { ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports; }
  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain filter-prerouting-pre-dnat { type filter hook prerouting priority -110; ct state new jump firewall-check; }
  chain filter-output-pre-dnat { type filter hook output priority -110; ct state new jump firewall-check; }
  chain filter-input { type filter hook input priority 0; ct state new jump nodeport-endpoints-check; ct state new jump service-endpoints-check; }
  chain filter-forward { type filter hook forward priority 0; ct state new jump service-endpoints-check; ct state new jump cluster-ips-check; }
  chain filter-output { type filter hook output priority 0; ct state new jump service-endpoints-check; ct state new jump cluster-ips-check; }
  chain nat-prerouting { type nat hook prerouting priority -100; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
  chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }
}
`;
}

/** Services from…to as one transaction. */
export function nftablesServices(services: Services, from: number, to: number): string {
  const lines: string[] = [];
  for (let i = from; i < to; i++) {
    const ip = services.clusterIP(i);
    lines.push(...nftChains(services, i));
    lines.push(`add element ip kube-proxy cluster-ips { ${ip} }`);
    lines.push(`add element ip kube-proxy service-ips { ${ip} . tcp . ${services.port} : goto ${nftService(i)} }`);
  }
  return `${lines.join('\n')}\n`;
}

function nftChains(services: Services, i: number): string[] {
  const { endpoints, targetPort } = services;
  const numbers = Array.from({ length: endpoints }, (_, e) => e);
  const chains = numbers.map((e) => nftEndpoint(i, e, services.endpoint(i, e), targetPort));
  return [
    `add chain ip kube-proxy ${nftService(i)}`,
    ...numbers.flatMap((e) => [
      `add chain ip kube-proxy ${chains[e]}`,
      `add rule ip kube-proxy ${chains[e]} ip saddr ${services.endpoint(i, e)} jump mark-for-masquerade`,
      `add rule ip kube-proxy ${chains[e]} meta l4proto tcp dnat to ${services.endpoint(i, e)}:${targetPort}`,
    ]),
    `add rule ip kube-proxy ${nftService(i)} ip daddr ${services.clusterIP(i)} ip saddr != ${POD_CIDR} jump mark-for-masquerade`,
    `add rule ip kube-proxy ${nftService(i)} numgen random mod ${endpoints} vmap { ${numbers.map((e) => `${e} : goto ${chains[e]}`).join(', ')} }`,
  ];
}

/** The first endpoint of a service moves to another address: its chains anew, the old endpoint's chain gone. */
export function nftablesChange(services: Services, i: number, moved: Services): string {
  const old = nftEndpoint(i, 0, services.endpoint(i, 0), services.targetPort);
  const flushed = Array.from({ length: services.endpoints }, (_, e) =>
    nftEndpoint(i, e, moved.endpoint(i, e), services.targetPort),
  );
  return `${[
    ...[nftService(i), ...flushed].flatMap((chain) => [
      `add chain ip kube-proxy ${chain}`,
      `flush chain ip kube-proxy ${chain}`,
    ]),
    ...nftChains(moved, i),
    `delete chain ip kube-proxy ${old}`,
  ].join('\n')}\n`;
}

// --- iptables

const svc = (i: number): string => `KUBE-SVC-${name(i)}`;
const sep = (i: number, e: number): string => `KUBE-SEP-${endpointName(i, e)}`;

const serviceRule = ({ port, clusterIP }: Services, i: number): string =>
  `-A KUBE-SERVICES -m comment --comment "demo/service-${i}:http cluster IP" -m tcp -p tcp -d ${clusterIP(i)}/32 --dport ${port} -j ${svc(i)}`;

function serviceChains({ endpoints, port, targetPort, clusterIP, endpoint }: Services, i: number): string[] {
  const comment = `-m comment --comment "demo/service-${i}:http`;
  return [
    `-A ${svc(i)} ${comment} cluster IP" -m tcp -p tcp -d ${clusterIP(i)}/32 --dport ${port} ! -s ${POD_CIDR} -j KUBE-MARK-MASQ`,
    ...Array.from({ length: endpoints }, (_, e) => {
      const left = endpoints - e;
      const share = left > 1 ? ` -m statistic --mode random --probability ${(1 / left).toFixed(10)}` : '';
      return `-A ${svc(i)} ${comment} -> ${endpoint(i, e)}:${targetPort}"${share} -j ${sep(i, e)}`;
    }),
    ...Array.from({ length: endpoints }, (_, e) => [
      `-A ${sep(i, e)} ${comment}" -s ${endpoint(i, e)}/32 -j KUBE-MARK-MASQ`,
      `-A ${sep(i, e)} ${comment}" -m tcp -p tcp -j DNAT --to-destination ${endpoint(i, e)}:${targetPort}`,
    ]).flat(),
  ];
}

const chainsOf = ({ endpoints }: Services, i: number): string[] =>
  [svc(i), ...Array.from({ length: endpoints }, (_, e) => sep(i, e))].map((chain) => `:${chain} - [0:0]`);

const filterTable = `*filter
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`;
const natChains = `:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
`;
const natBase = `-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
`;
const natJumps = `-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
`;
const nodePorts =
  '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n';

export function iptablesAll(services: Services): string {
  const all = Array.from({ length: services.count }, (_, i) => i);
  return `${filterTable}*nat
${natChains}${all.flatMap((i) => chainsOf(services, i)).join('\n')}
${natJumps}${natBase}${all.flatMap((i) => [serviceRule(services, i), ...serviceChains(services, i)]).join('\n')}
${nodePorts}COMMIT
`;
}

/** With --noflush: KUBE-SERVICES whole, and the chains of the changed service. */
export function iptablesChange(services: Services, i: number, moved: Services): string {
  const all = Array.from({ length: services.count }, (_, other) => serviceRule(moved, other));
  return `*nat
${natChains}${chainsOf(moved, i).join('\n')}
${natBase}${all.join('\n')}
${serviceChains(moved, i).join('\n')}
${nodePorts}COMMIT
`;
}
