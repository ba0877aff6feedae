/** OpenAPI documents, made when they are asked for and kept until the set of resources changes. */
import type { Registry } from './registry.ts';

export type OpenApi = (path: string, accept: string) => { body: unknown; contentType: string } | undefined;

export function createOpenApi(_registry: Registry): OpenApi {
  return () => undefined;
}
