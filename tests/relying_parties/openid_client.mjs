// Walks journeys with openid-client, one after the other: a line of JSON for each comes in, and one for what it saw
// goes out.

import { createInterface } from "node:readline";
import { inspect } from "node:util";
import * as journeys from "./journeys.mjs";

for await (const line of createInterface({ input: process.stdin })) {
  const { journey, options } = JSON.parse(line);
  const told = await journeys[journey](options).then(
    (seen) => ({ seen }),
    (error) => ({ failed: inspect(error, { depth: 4 }) }),
  );
  console.log(JSON.stringify(told));
}
