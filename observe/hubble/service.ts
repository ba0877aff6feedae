/**
 * The gRPC services of a node or a relay: `observer.Observer`, `peer.Peer`, `grpc.health.v1.Health`.
 *
 * - This file, and with it gRPC, is loaded when the first client comes: a node that nobody observes does not pay for it.
 */
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
import { loadSync } from '@grpc/proto-loader';
import { EMPTY, NEVER } from 'rxjs';
import { eachFrom } from '../each-from.ts';
import { FilterError } from './filter.ts';
import { Frames } from './frames.ts';
import { type GetFlowsRequest, type ReadRequest, RequestError, stream } from './observer.ts';
import { PROTO_FILES, PROTO_OPTIONS } from './proto-files.ts';
import type { HubbleSource } from './source.ts';
import { wireEncoder } from './wire.ts';

const SERVING = new Set(['', 'hubble.server.Observer', 'observer.Observer', 'peer.Peer']);

/** Definitions by full name, such as `observer.Observer`. */
export function services(
  definitions = loadSync(PROTO_FILES, PROTO_OPTIONS),
): Record<'observer' | 'peer' | 'health', ServiceClientConstructor['service']> {
  const root = loadPackageDefinition(definitions) as unknown as {
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
  const definitions = loadSync(PROTO_FILES, PROTO_OPTIONS);
  const { observer, peer, health } = services(definitions);
  const encode = wireEncoder(definitions, 'observer.GetFlowsResponse');
  const greeting = (): Metadata => {
    const metadata = new Metadata();
    metadata.set(source.versionHeader, source.version);
    return metadata;
  };
  /** Streams what `answers` gives; `undefined` is what this server does not do. */
  const streaming =
    <Req>(
      answers: ((request: Req, signal: AbortSignal) => AsyncIterable<unknown>) | undefined,
    ): Streaming<Req, unknown> =>
    (call) => {
      if (!answers) return void call.emit('error', UNIMPLEMENTED);
      call.sendMetadata(greeting());
      stream(call, (signal) => answers(call.request, signal)).catch((error: unknown) =>
        call.emit('error', refusal(error)),
      );
    };
  const unary =
    (answer: (() => unknown) | undefined): Unary<unknown, unknown> =>
    (call, done) => {
      if (!answer) return done(UNIMPLEMENTED);
      call.sendMetadata(greeting());
      Promise.resolve(answer()).then(
        (value) => done(null, value),
        (error: unknown) => done(refusal(error)),
      );
    };
  const { agentEvents, flowFrames, nodes, peers } = source;
  server.addService(withFrames(observer), {
    GetFlows: streaming<GetFlowsRequest>(
      flowFrames ? (request, signal) => flowFrames(request, signal, encode) : source.flows,
    ),
    GetAgentEvents: streaming<ReadRequest>(agentEvents),
    /** The datapath has no debug events: a follower waits, everybody else gets an empty answer. */
    GetDebugEvents: streaming<ReadRequest>(agentEvents && nothing),
    GetNodes: unary(nodes && (async () => ({ nodes: await nodes() }))),
    GetNamespaces: unary(async () => ({ namespaces: await source.namespaces() })),
    ServerStatus: unary(source.status),
  });
  if (peers) server.addService(peer, { Notify: streaming((_: unknown, signal) => peers(signal)) });

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

/** GetFlows with answers that are bytes already, many at once. */
function withFrames(observer: ServiceClientConstructor['service']): ServiceClientConstructor['service'] {
  const { GetFlows } = observer;
  if (!GetFlows) return observer;
  const { responseSerialize } = GetFlows;
  // grpc-js takes of a Frames what it takes of a Buffer.
  const serialize = (answer: unknown): Buffer =>
    answer instanceof Frames ? (answer as unknown as Buffer) : responseSerialize(answer);
  return { ...observer, GetFlows: { ...GetFlows, responseSerialize: serialize } };
}

const UNIMPLEMENTED = {
  code: status.UNIMPLEMENTED,
  details: 'a node answers for its own events, a relay for its nodes',
};

const nothing = ({ follow }: ReadRequest, signal: AbortSignal) => eachFrom(follow ? NEVER : EMPTY, signal);

function refusal(error: unknown): { code: number; details: string } {
  const details = error instanceof Error ? error.message : String(error);
  const isClients = error instanceof FilterError || error instanceof RequestError;
  return { code: isClients ? status.INVALID_ARGUMENT : status.INTERNAL, details };
}
