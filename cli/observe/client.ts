/** A client of the Hubble API. */
import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { GetFlowsRequest, GetFlowsResponse } from '../../observe/hubble/observer.ts';
import { PROTO_FILES, PROTO_OPTIONS } from '../../observe/hubble/service.ts';

/** `server` as gRPC names it: `unix:///path`, `host:port`. */
export async function* getFlows(server: string, request: GetFlowsRequest): AsyncGenerator<GetFlowsResponse> {
  const root = loadPackageDefinition(loadSync(PROTO_FILES, PROTO_OPTIONS)) as unknown as {
    observer: { Observer: new (address: string, how: unknown) => ObserverClient };
  };
  const client = new root.observer.Observer(server, credentials.createInsecure());
  try {
    yield* client.GetFlows(request);
  } catch (error) {
    throw new Error(`${server}: ${(error as { details?: string }).details ?? error}`);
  } finally {
    client.close();
  }
}

interface ObserverClient {
  GetFlows(request: GetFlowsRequest): AsyncIterable<GetFlowsResponse>;
  close(): void;
}
