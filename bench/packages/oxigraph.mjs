/** oxigraph: an in-memory graph, queried in SPARQL. */
import oxigraph from 'oxigraph';
import { answer, below, finish, sentence } from './made.mjs';

const PEOPLE = 60_000;
const FEW = 2_000;
const store = new oxigraph.Store();
for (let first = 0; first < PEOPLE; first += 2000) {
  let text = '@prefix e: <http://example.org/> .\n';
  for (let i = first; i < first + 2000; i++)
    text += `e:p${i} a e:Person ; e:name "${sentence(3)}" ; e:note "${sentence(12)}" ; e:age ${below(90)} ; e:knows e:p${Math.max(0, i - 1 - below(50))}, e:p${Math.max(0, i - 1 - below(50))} .\n`;
  store.load(text, { format: 'text/turtle' });
}
answer(store.size);
const ask = (sparql) => {
  for (const row of store.query(`PREFIX e: <http://example.org/> ${sparql}`))
    answer([...row.values()].map(String));
};
for (let i = 0; i < 300; i++)
  ask(`SELECT ?n WHERE { e:p${below(FEW)} e:knows/e:knows ?f . ?f e:name ?n } ORDER BY ?n`);
ask('SELECT (COUNT(*) AS ?n) WHERE { ?p e:age ?a . FILTER(?a > 60) }');
finish();
