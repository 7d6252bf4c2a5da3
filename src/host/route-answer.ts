/**
 * Replies to a request with a route of control-routes.ts, for the control socket and for a dashboard. The caller has checked
 * that the client may send the request.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { SwapError } from '../base/errors.ts';
import { type ControlHandlers, findRoute, type Route } from './control-routes.ts';
import { type HttpServer, sendJson } from './http-server.ts';

export interface RouteContext {
  readonly handlers: ControlHandlers;
  readonly http: HttpServer;
  readonly clientMsMax: number;
  /** Called for each request that has a route. */
  readonly onAccepted: () => void;
  /** Called with the parsed body before the route; a SwapError refuses the request with 403. */
  readonly checkBody?: (body: unknown) => void;
}

/** Status of a failed request: a SwapError is an error of the request; anything else is a bug. */
export function statusOf({ code }: SwapError): number {
  if (code === 'ERR_ARG_UNKNOWN') return 404;
  return code === 'ERR_ARG_VALUE' ? 400 : 409;
}

/** Sends the reply. @returns true if the reply is a stream of events; then nothing was sent */
export async function answerRoute(
  context: RouteContext,
  request: IncomingMessage,
  bytes: Buffer,
  response: ServerResponse,
): Promise<boolean> {
  const { http, checkBody } = context;
  const [path = '', query = ''] = (request.url ?? '').split('?');
  const found = findRoute(request.method ?? '', path);
  if ('message' in found) {
    if (found.allow !== '') response.setHeader('allow', found.allow);
    const code = found.status === 404 ? 'ERR_ARG_UNKNOWN' : 'ERR_ARG_VALUE';
    http.refuse(response, found.status, code, found.message);
    return false;
  }
  let body: unknown;
  try {
    body = bytes.length === 0 ? undefined : JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    const why = `the body is not JSON: ${(error as Error).message}`;
    http.refuse(response, 400, 'ERR_ARG_VALUE', why);
    return false;
  }
  try {
    checkBody?.(body);
  } catch (error) {
    if (!(error instanceof SwapError)) throw error;
    http.refuse(response, 403, error.code, error.message);
    return false;
  }
  context.onAccepted();
  if (found.route.isStream === true) return true;
  const force = new URLSearchParams(query).get('force') === '1';
  await finish(context, found.route, { disk: found.disk, force, body }, response);
  return false;
}

async function finish(
  { handlers, http, clientMsMax }: RouteContext,
  route: Route,
  asked: Parameters<Route['answer']>[1],
  response: ServerResponse,
): Promise<void> {
  response.setTimeout(0); // an operation may take longer than a client may be silent
  try {
    const body = await route.answer(handlers, asked);
    // 'close', not 'finish': the request counts even if the client has disconnected.
    if (route.after !== undefined)
      if (response.closed) route.after(handlers);
      else response.once('close', () => route.after?.(handlers));
    response.setTimeout(clientMsMax);
    sendJson(response, route.status, body);
  } catch (error) {
    if (!(error instanceof SwapError)) throw error;
    http.refuse(response, statusOf(error), error.code, error.message);
  }
}
