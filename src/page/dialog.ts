/**
 * One dialog for all questions: a modal <dialog>, which keeps the focus inside, closes on Escape and then restores the
 * focus. An error from the host is shown in the dialog, which stays open.
 */
import { byId, element, setText } from './dom.ts';

export interface Field {
  readonly key: string;
  readonly label: string;
  readonly hint?: string;
  readonly kind?: 'text' | 'password' | 'checkbox';
  readonly value?: string;
  readonly isRequired?: boolean;
}

export interface Question {
  readonly title: string;
  readonly text?: string;
  readonly fields: readonly Field[];
  readonly submit: string;
  readonly isDangerous?: boolean;
  /** Values by key; a checked checkbox is 'on', else ''. If it rejects, the dialog shows the error. */
  readonly onSubmit: (values: ReadonlyMap<string, string>) => Promise<void>;
}

let submitNow: () => Promise<void> = async () => undefined;

const dialog = (): HTMLDialogElement => byId<HTMLDialogElement>('dialog');

/** Connects the dialog's buttons. Call once. */
export function initDialog(): void {
  dialog().addEventListener('close', () => {
    // The button that opened the dialog has been removed with its disk.
    const { activeElement } = document;
    if (activeElement === document.body || dialog().contains(activeElement))
      byId('disks-heading').focus();
  });
  byId('dialog-cancel').addEventListener('click', () => dialog().close());
  byId('dialog-form').addEventListener('submit', (event) => {
    event.preventDefault();
    void submitNow();
  });
}

function inputOf({ key, label, hint, kind = 'text', value = '', isRequired }: Field): HTMLElement {
  const id = `field-${key}`;
  const input = element('input', { id, name: key, type: kind, autocomplete: 'off' });
  if (kind === 'checkbox') input.checked = value === 'on';
  else input.value = value;
  if (kind !== 'checkbox') input.spellcheck = false;
  if (isRequired === true) input.required = true;
  const name = element('label', { for: id }, label);
  const field = element('div', { class: `field ${kind}` });
  field.append(...(kind === 'checkbox' ? [input, name] : [name, input]));
  if (hint !== undefined) {
    input.setAttribute('aria-describedby', `${id}-hint`);
    field.append(element('p', { id: `${id}-hint`, class: 'hint' }, hint));
  }
  return field;
}

function valuesOf(inputs: readonly HTMLInputElement[]): ReadonlyMap<string, string> {
  return new Map(
    inputs.map((input) => [
      input.name,
      input.type === 'checkbox' ? (input.checked ? 'on' : '') : input.value.trim(),
    ]),
  );
}

/** Shows a question. */
export function ask(question: Question): void {
  const { title, text = '', fields, submit, isDangerous = false } = question;
  const button = byId<HTMLButtonElement>('dialog-submit');
  const error = byId('dialog-error');
  setText(byId('dialog-title'), title);
  setText(byId('dialog-text'), text);
  setText(error, '');
  setText(button, submit);
  button.classList.toggle('danger', isDangerous);
  byId('dialog-fields').replaceChildren(...fields.map(inputOf));
  const inputs = [...byId('dialog-fields').querySelectorAll('input')];
  submitNow = async () => {
    if (button.ariaDisabled === 'true') return; // not disabled, which would lose the focus
    const missing = inputs.find(({ required, value }) => required && value.trim() === '');
    for (const input of inputs) input.removeAttribute('aria-invalid');
    if (missing !== undefined) {
      missing.setAttribute('aria-invalid', 'true');
      missing.focus();
      const label = fields.find(({ key }) => key === missing.name)?.label ?? '';
      error.textContent = `${label} is missing.`;
      return;
    }
    error.textContent = '';
    button.ariaDisabled = 'true';
    try {
      await question.onSubmit(valuesOf(inputs));
      dialog().close();
    } catch (cause) {
      error.textContent = (cause as Error).message;
    } finally {
      button.ariaDisabled = null;
    }
  };
  dialog().showModal();
  // In a dangerous question, Cancel has the focus, so that Enter does no harm.
  const first = fields.find(({ kind }) => kind !== 'checkbox');
  if (first !== undefined) inputs.find(({ name }) => name === first.key)?.focus();
  else byId('dialog-cancel').focus();
}
