/** The definitions: fresh on disk, structural, and as the catalogue says. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Schema } from '../api-server/schema.ts';
import type { CiliumNetworkPolicy } from './cilium-network-policy.ts';
import { crdDirectory, crdFiles } from './generate.ts';
import { crdObjects, crdViolations } from './index.ts';

interface Version {
  name: string;
  storage: boolean;
  schema: { openAPIV3Schema: Schema };
  subresources?: { status?: object };
}
const versionsOf = (spec: Record<string, unknown>): Version[] => spec.versions as Version[];

test('the YAML on disk is what the schemas say: run `node cluster/crds/generate.ts`', () => {
  const files = crdFiles();
  expect(readdirSync(crdDirectory).sort()).toEqual([...files.keys()].sort());
  for (const [name, text] of files) expect(readFileSync(new URL(name, crdDirectory), 'utf8')).toBe(text);
});

test('kinds, names, scopes, versions and status are those of the catalogue', () => {
  const rows = crdObjects().map(({ spec }) => {
    const names = spec.names as { kind: string; plural: string; shortNames?: string[]; categories: string[] };
    const status = versionsOf(spec).every(({ subresources }) => subresources?.status !== undefined) ? 'status' : '-';
    return [
      names.kind,
      names.plural,
      names.shortNames?.join() ?? '-',
      spec.scope,
      versionsOf(spec)
        .map(({ name }) => name)
        .join(),
      status,
      names.categories.join(),
    ].join(' ');
  });
  expect(rows).toEqual([
    'CiliumBGPAdvertisement ciliumbgpadvertisements cbgpadvert Cluster v2,v2alpha1 - cilium,ciliumbgp',
    'CiliumBGPClusterConfig ciliumbgpclusterconfigs cbgpcluster Cluster v2,v2alpha1 status cilium,ciliumbgp',
    'CiliumBGPNodeConfig ciliumbgpnodeconfigs cbgpnode Cluster v2,v2alpha1 status cilium,ciliumbgp',
    'CiliumBGPNodeConfigOverride ciliumbgpnodeconfigoverrides cbgpnodeoverride Cluster v2,v2alpha1 - cilium,ciliumbgp',
    'CiliumBGPPeerConfig ciliumbgppeerconfigs cbgppeer Cluster v2,v2alpha1 status cilium,ciliumbgp',
    'CiliumCIDRGroup ciliumcidrgroups ccg Cluster v2,v2alpha1 - cilium',
    'CiliumClusterwideEnvoyConfig ciliumclusterwideenvoyconfigs ccec Cluster v2 - cilium',
    'CiliumClusterwideNetworkPolicy ciliumclusterwidenetworkpolicies ccnp Cluster v2 status cilium,ciliumpolicy',
    'CiliumEgressGatewayPolicy ciliumegressgatewaypolicies cegp Cluster v2 - cilium,ciliumpolicy',
    'CiliumEndpoint ciliumendpoints cep,ciliumep Namespaced v2 - cilium',
    'CiliumEndpointSlice ciliumendpointslices ces Cluster v2alpha1 - cilium',
    'CiliumEnvoyConfig ciliumenvoyconfigs cec Namespaced v2 - cilium',
    'CiliumIdentity ciliumidentities ciliumid Cluster v2 status cilium',
    'CiliumL2AnnouncementPolicy ciliuml2announcementpolicies l2announcement Cluster v2alpha1 status cilium',
    'CiliumLoadBalancerIPPool ciliumloadbalancerippools ippools,ippool,lbippool,lbippools Cluster v2,v2alpha1 status cilium',
    'CiliumLocalRedirectPolicy ciliumlocalredirectpolicies clrp Namespaced v2 - cilium,ciliumpolicy',
    'CiliumNetworkPolicy ciliumnetworkpolicies cnp,ciliumnp Namespaced v2 status cilium,ciliumpolicy',
    'CiliumNode ciliumnodes cn,ciliumn Cluster v2 status cilium',
    'CiliumNodeConfig ciliumnodeconfigs - Namespaced v2 - cilium',
    'CiliumPodIPPool ciliumpodippools cpip Cluster v2alpha1 - cilium',
  ]);
});

describe.each(crdObjects().map((object) => [object.metadata.name, object] as const))('%s', (_, object) => {
  test('is structural: every node has a type or says that it takes anything', () => {
    const loose: string[] = [];
    const visit = (schema: Schema, path: string): void => {
      if (
        schema.type === undefined &&
        !schema['x-kubernetes-int-or-string'] &&
        !schema['x-kubernetes-preserve-unknown-fields']
      )
        loose.push(path);
      for (const [name, property] of Object.entries(schema.properties ?? {})) visit(property, `${path}.${name}`);
      if (schema.items) visit(schema.items, `${path}[]`);
      if (typeof schema.additionalProperties === 'object') visit(schema.additionalProperties, `${path}{}`);
    };
    for (const version of versionsOf(object.spec)) visit(version.schema.openAPIV3Schema, version.name);
    expect(loose).toEqual([]);
  });

  test('stores exactly one version', () => {
    expect(versionsOf(object.spec).filter(({ storage }) => storage)).toHaveLength(1);
  });
});

test('one schema gives the type and the validation', () => {
  const policy: CiliumNetworkPolicy = {
    spec: {
      endpointSelector: {},
      ingress: [
        { fromEndpoints: [{ matchLabels: { app: 'a' } }], toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }] }] },
      ],
    },
  };
  expect(crdViolations('CiliumNetworkPolicy', policy)).toEqual([]);
  expect(
    crdViolations('CiliumNetworkPolicy', { spec: { endpointSelector: { matchLabels: { app: 7 } } } }).map(
      ({ field }) => field,
    ),
  ).toEqual(['spec.endpointSelector.matchLabels.app']);
  expect(crdViolations('Pod', {})).toEqual([]);
});
