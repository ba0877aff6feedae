/** CiliumEndpoint: what the agent reports of one pod's endpoint. It has no spec; its name is the pod's. */
import { type Static, Type } from 'typebox';
import type { Crd } from './definition.ts';
import { text, texts } from './shared.ts';

export const addressPair = Type.Object({ ipv4: Type.Optional(text()), ipv6: Type.Optional(text()) });

export const endpointNetworking = Type.Object({
  addressing: Type.Array(addressPair, { description: 'IP4/6 addresses assigned to this Endpoint' }),
  node: Type.Optional(text('NodeIP is the IP of the node the endpoint is running on.')),
});

export const namedPort = Type.Object({
  name: Type.Optional(text()),
  port: Type.Optional(Type.Integer({ description: 'Layer 4 port number' })),
  protocol: Type.Optional(text('Layer 4 protocol name')),
});

export const encryptionKey = Type.Object({
  key: Type.Optional(Type.Integer({ description: 'Index of the key to use for encryption, 0 if disabled' })),
});

const allowed = Type.Object({
  'dest-port': Type.Optional(Type.Integer()),
  identity: Type.Optional(Type.Integer({ format: 'int64' })),
  'identity-labels': Type.Optional(Type.Record(Type.String(), Type.String())),
  protocol: Type.Optional(Type.Integer()),
});

const direction = Type.Object({
  adding: Type.Optional(Type.Array(allowed)),
  allowed: Type.Optional(Type.Array(allowed)),
  denied: Type.Optional(Type.Array(allowed)),
  enforcing: Type.Boolean(),
  removing: Type.Optional(Type.Array(allowed)),
  state: Type.Optional(
    text('EndpointPolicyState defines the state of the Policy mode: "enforcing", "non-enforcing", "disabled"'),
  ),
});

const controller = Type.Object({
  configuration: Type.Optional(
    Type.Object({
      'error-retry': Type.Optional(Type.Boolean()),
      'error-retry-base': Type.Optional(Type.Integer({ format: 'int64' })),
      interval: Type.Optional(Type.Integer({ format: 'int64' })),
    }),
  ),
  name: Type.Optional(text()),
  status: Type.Optional(
    Type.Object({
      'consecutive-failure-count': Type.Optional(Type.Integer({ format: 'int64' })),
      'failure-count': Type.Optional(Type.Integer({ format: 'int64' })),
      'last-failure-msg': Type.Optional(text()),
      'last-failure-timestamp': Type.Optional(text()),
      'last-success-timestamp': Type.Optional(text()),
      'success-count': Type.Optional(Type.Integer({ format: 'int64' })),
    }),
  ),
  uuid: Type.Optional(text()),
});

export const endpointStates = [
  'creating',
  'waiting-for-identity',
  'not-ready',
  'waiting-to-regenerate',
  'regenerating',
  'restoring',
  'ready',
  'disconnecting',
  'disconnected',
  'invalid',
] as const;

export const ciliumEndpointSchema = Type.Object({
  status: Type.Optional(
    Type.Object({
      controllers: Type.Optional(Type.Array(controller)),
      encryption: Type.Optional(encryptionKey),
      'external-identifiers': Type.Optional(
        Type.Object({
          'cni-attachment-id': Type.Optional(text('ID assigned to this attachment by container runtime')),
          'container-id': Type.Optional(text()),
          'container-name': Type.Optional(text()),
          'docker-endpoint-id': Type.Optional(text()),
          'docker-network-id': Type.Optional(text()),
          'k8s-namespace': Type.Optional(text()),
          'k8s-pod-name': Type.Optional(text()),
          'pod-name': Type.Optional(text()),
        }),
      ),
      health: Type.Optional(
        Type.Object({
          bpf: Type.Optional(text()),
          connected: Type.Optional(Type.Boolean()),
          overallHealth: Type.Optional(text()),
          policy: Type.Optional(text()),
        }),
      ),
      id: Type.Optional(
        Type.Integer({ format: 'int64', description: 'ID is the cilium-agent-local ID of the endpoint.' }),
      ),
      identity: Type.Optional(
        Type.Object({
          id: Type.Optional(
            Type.Integer({ format: 'int64', description: 'ID is the numeric identity of the endpoint' }),
          ),
          labels: Type.Optional(texts('Labels is the list of labels associated with the identity')),
        }),
      ),
      log: Type.Optional(
        Type.Array(
          Type.Object({
            code: Type.Optional(text()),
            message: Type.Optional(text()),
            state: Type.Optional(text()),
            timestamp: Type.Optional(text()),
          }),
        ),
      ),
      'named-ports': Type.Optional(Type.Array(namedPort)),
      networking: Type.Optional(endpointNetworking),
      policy: Type.Optional(Type.Object({ egress: Type.Optional(direction), ingress: Type.Optional(direction) })),
      'service-account': Type.Optional(text()),
      state: Type.Optional(Type.Enum([...endpointStates])),
    }),
  ),
});
export type CiliumEndpoint = Static<typeof ciliumEndpointSchema>;

export const ciliumEndpoint: Crd = {
  kind: 'CiliumEndpoint',
  plural: 'ciliumendpoints',
  shortNames: ['cep', 'ciliumep'],
  scope: 'Namespaced',
  versions: [
    {
      name: 'v2',
      schema: ciliumEndpointSchema,
      columns: [
        {
          jsonPath: '.status.identity.id',
          name: 'Security Identity',
          type: 'integer',
          description: 'Security Identity',
        },
        {
          jsonPath: '.status.policy.ingress.state',
          name: 'Ingress Enforcement',
          type: 'string',
          priority: 1,
          description: 'Ingress enforcement in the endpoint',
        },
        {
          jsonPath: '.status.policy.egress.state',
          name: 'Egress Enforcement',
          type: 'string',
          priority: 1,
          description: 'Egress enforcement in the endpoint',
        },
        { jsonPath: '.status.state', name: 'Endpoint State', type: 'string', description: 'Endpoint current state' },
        {
          jsonPath: '.status.networking.addressing[0].ipv4',
          name: 'IPv4',
          type: 'string',
          description: 'Endpoint IPv4 address',
        },
        {
          jsonPath: '.status.networking.addressing[0].ipv6',
          name: 'IPv6',
          type: 'string',
          description: 'Endpoint IPv6 address',
        },
      ],
    },
  ],
};
