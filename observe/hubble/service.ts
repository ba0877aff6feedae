/**
 * The gRPC services of a node: `observer.Observer`, `peer.Peer`, `grpc.health.v1.Health`.
 *
 * - This file, and with it gRPC, is loaded when the first client comes: a node that nobody observes does not pay for it.
 */
import { join } from 'node:path';
import {
  loadPackageDefinition,
  Metadata,
  Server,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceClientConstructor,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { loadSync, type Options } from '@grpc/proto-loader';
import { FilterError } from './filter.ts';
import { flowsFor, type GetFlowsRequest, RequestError, stream } from './observer.ts';
import type { HubbleSource } from './source.ts';

export const PROTO_OPTIONS: Options = {
  includeDirs: [join(import.meta.dirname, 'proto')],
  keepCase: true,
  longs: Number,
  enums: String,
};
export const PROTO_FILES = ['observer/observer.proto', 'peer/peer.proto', 'health/health.proto'];

const SERVING = new Set(['', 'hubble.server.Observer', 'observer.Observer', 'peer.Peer']);

/** Definitions by full name, such as `observer.Observer`. */
export function services(): Record<'observer' | 'peer' | 'health', ServiceClientConstructor['service']> {
  const root = loadPackageDefinition(loadSync(PROTO_FILES, PROTO_OPTIONS)) as unknown as {
    observer: { Observer: ServiceClientConstructor };
    peer: { Peer: ServiceClientConstructor };
    grpc: { health: { v1: { Health: ServiceClientConstructor } } };
  };
  return {
    observer: root.observer.Observer.service,
    peer: root.peer.Peer.service,
    health: root.grpc.health.v1.Health.service,
  };
}

type Unary<Req, Res> = (call: ServerUnaryCall<Req, Res>, done: sendUnaryData<Res>) => void;
type Streaming<Req, Res> = (call: ServerWritableStream<Req, Res>) => void;

export function hubbleServer(source: HubbleSource): Server {
  const server = new Server({ 'grpc.max_receive_message_length': 1 << 20, 'grpc-node.max_session_memory': 64 });
  const { observer, peer, health } = services();
  const greeting = (): Metadata => {
    const metadata = new Metadata();
    metadata.set('hubble-server-version', source.version);
    return metadata;
  };

  const getFlows: Streaming<GetFlowsRequest, unknown> = (call) => {
    call.sendMetadata(greeting());
    stream(call, (signal) => flowsFor(source.ring, call.request, source.nodeName, signal)).catch((error: unknown) =>
      call.emit('error', refusal(error)),
    );
  };
  /** Nothing of the kind happens here: a follower waits, everybody else gets an empty answer. */
  const silent: Streaming<{ follow?: boolean }, unknown> = (call) => {
    call.sendMetadata(greeting());
    if (!call.request.follow) call.end();
  };
  const serverStatus: Unary<unknown, unknown> = (call, done) => {
    call.sendMetadata(greeting());
    done(null, source.status());
  };
  const getNamespaces: Unary<unknown, unknown> = (_, done) => done(null, { namespaces: source.namespaces() });
  /** A relay's. */
  const getNodes: Unary<unknown, unknown> = (_, done) =>
    done({ code: status.UNIMPLEMENTED, details: 'GetNodes is answered by a relay' });
  server.addService(observer, {
    GetFlows: getFlows,
    GetAgentEvents: silent,
    GetDebugEvents: silent,
    GetNodes: getNodes,
    GetNamespaces: getNamespaces,
    ServerStatus: serverStatus,
  });

  const notify: Streaming<unknown, unknown> = (call) => {
    for (const node of source.peers()) call.write(node);
  };
  server.addService(peer, { Notify: notify });

  const healthOf = ({ service = '' }: { service?: string }) => (SERVING.has(service) ? 'SERVING' : 'SERVICE_UNKNOWN');
  const check: Unary<{ service?: string }, unknown> = (call, done) => {
    const answer = healthOf(call.request);
    if (answer === 'SERVING') done(null, { status: answer });
    else done({ code: status.NOT_FOUND, details: `unknown service ${call.request.service}` });
  };
  const watch: Streaming<{ service?: string }, unknown> = (call) => void call.write({ status: healthOf(call.request) });
  server.addService(health, { Check: check, Watch: watch });
  return server;
}

function refusal(error: unknown): { code: number; details: string } {
  const details = error instanceof Error ? error.message : String(error);
  const isClients = error instanceof FilterError || error instanceof RequestError;
  return { code: isClients ? status.INVALID_ARGUMENT : status.INTERNAL, details };
}
