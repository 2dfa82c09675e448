/** Questions for names by DNS over HTTPS (RFC 8484), passed on to a name server, for what the relay's policy allows. */

import { createSocket } from "node:dgram";

import { decode, encode, type Packet, RECURSION_DESIRED } from "dns-packet";

import type { RelayPolicy } from "./policy.js";

/** Largest question that is taken, in bytes. */
export const MOST_QUESTION_BYTES = 4096;

const ANSWER_MS = 4000;
/** The code of an answer: the question is refused, or the server has failed. */
const RCODE = { serverFailure: 2, refused: 5 } as const;

/** Asks a name server (`ADDRESS:PORT`) over UDP. */
export type Ask = (query: Buffer) => Promise<Buffer>;

/** Asks the name server at an address and port. */
export function askOverUdp(server: string): Ask {
  const [address = "", port = "53"] = server.split(":");
  return (query) =>
    new Promise((resolve, reject) => {
      const socket = createSocket("udp4");
      const timer = setTimeout(() => finish(() => reject(new Error("the name server does not answer"))), ANSWER_MS);
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        socket.close();
        settle();
      };
      socket.once("error", (error) => finish(() => reject(error)));
      socket.on("message", (answer) => {
        if (answer.length >= 12 && answer.readUInt16BE(0) === query.readUInt16BE(0)) finish(() => resolve(answer));
      });
      // A connected socket hears this server only.
      socket.connect(Number(port), address, () => socket.send(query));
    });
}

/**
 * Answers a question, itself a whole DNS message.
 *
 * @returns nothing if it is no question
 */
export async function answerQuestion(
  query: Buffer,
  policy: RelayPolicy,
  ask: Ask | undefined,
): Promise<Buffer | undefined> {
  let packet: Packet;
  try {
    packet = decode(query);
  } catch {
    return undefined;
  }
  const [question, ...others] = packet.questions ?? [];
  if (packet.type !== "query" || question === undefined || others.length > 0) return undefined;
  if (!policy.permitsQuestion(question.name)) return failure(packet, RCODE.refused);
  let answer: Buffer;
  try {
    if (!ask) return failure(packet, RCODE.serverFailure);
    answer = await ask(query);
    for (const record of decode(answer).answers ?? []) {
      if (record.type === "A") policy.rememberAnswer(question.name, record.data, record.ttl ?? 0);
    }
  } catch {
    return failure(packet, RCODE.serverFailure);
  }
  return answer;
}

function failure({ id, questions = [] }: Packet, code: number): Buffer {
  return encode({ ...(id === undefined ? {} : { id }), type: "response", flags: RECURSION_DESIRED | code, questions });
}
