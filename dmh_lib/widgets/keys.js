// A field that takes the keys pressed while it has the focus, and sends each to Python.

function render({ model, el }) {
  const field = document.createElement("div");
  field.tabIndex = 0;
  field.className = "dmh-keys";
  field.setAttribute("role", "application");
  field.setAttribute("aria-label", model.get("label"));
  field.textContent = model.get("label");
  field.style.cssText =
    "padding: 6px 10px; border: 2px solid #777777; border-radius: 4px; cursor: pointer; outline-offset: 2px;";
  field.addEventListener("focus", () => (field.style.borderColor = "#0072B2"));
  field.addEventListener("blur", () => (field.style.borderColor = "#777777"));
  field.addEventListener("keydown", (event) => {
    if (!model.get("taken").includes(event.key)) return;
    event.preventDefault(); // no scrolling
    event.stopPropagation(); // no shortcut of the notebook
    model.set("_pressed", [event.key, model.get("_pressed")[1] + 1]);
    model.save_changes();
  });
  el.append(field);
}

export default { render };
