/** CiliumBGPNodeConfig: what one node is to do, as the operator works it out, and what its agent reports. */
import { type Static, Type } from 'typebox';
import { asNumber, bgpCategories, instanceName } from './cilium-bgp-config.ts';
import { age, type Crd } from './definition.ts';
import { conditions, portNumber, text } from './shared.ts';

const count = Type.Optional(Type.Integer({ format: 'int32' }));

const peer = Type.Object({
  autoDiscovery: Type.Optional(
    Type.Object({
      defaultGateway: Type.Optional(Type.Object({ addressFamily: Type.Enum(['ipv4', 'ipv6']) })),
      mode: Type.Enum(['DefaultGateway']),
    }),
  ),
  localAddress: Type.Optional(text()),
  name: text(),
  peerASN: Type.Optional(Type.Integer({ format: 'int64', minimum: 0, maximum: 4294967295 })),
  peerAddress: Type.Optional(text()),
  peerConfigRef: Type.Optional(Type.Object({ name: text() })),
});

const peerStatus = Type.Object({
  establishedTime: Type.Optional(text()),
  name: text(),
  peerASN: Type.Optional(Type.Integer({ format: 'int64' })),
  peerAddress: text(),
  peeringState: Type.Optional(text()),
  routeCount: Type.Optional(Type.Array(Type.Object({ advertised: count, afi: text(), received: count, safi: text() }))),
  timers: Type.Optional(Type.Object({ appliedHoldTimeSeconds: count, appliedKeepaliveSeconds: count })),
});

export const ciliumBgpNodeConfigSchema = Type.Object({
  spec: Type.Object({
    bgpInstances: Type.Array(
      Type.Object({
        localASN: Type.Optional(asNumber),
        localPort: Type.Optional(portNumber),
        name: instanceName,
        peers: Type.Optional(Type.Array(peer)),
        routerID: Type.Optional(text('An IPv4 address.')),
      }),
      { minItems: 1 },
    ),
  }),
  status: Type.Optional(
    Type.Object({
      bgpInstances: Type.Optional(
        Type.Array(
          Type.Object({
            localASN: Type.Optional(Type.Integer({ format: 'int64' })),
            name: text(),
            peers: Type.Optional(Type.Array(peerStatus)),
          }),
        ),
      ),
      conditions: Type.Optional(conditions),
    }),
  ),
});
export type CiliumBgpNodeConfig = Static<typeof ciliumBgpNodeConfigSchema>;

export const ciliumBgpNodeConfig: Crd = {
  kind: 'CiliumBGPNodeConfig',
  plural: 'ciliumbgpnodeconfigs',
  shortNames: ['cbgpnode'],
  categories: bgpCategories,
  scope: 'Cluster',
  status: true,
  versions: [
    { name: 'v2', schema: ciliumBgpNodeConfigSchema, columns: [age] },
    { name: 'v2alpha1', schema: ciliumBgpNodeConfigSchema, columns: [age] },
  ],
};
