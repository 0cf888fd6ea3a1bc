// “无” and the other boxes exclude each other; a count typed in clears a band chosen by hand, and the other way round.
const form = document.querySelector("form[data-exclusive]");
const alone = new Set(form.dataset.exclusive.split(" ").filter(Boolean));
form.addEventListener("change", ({ target }) => {
  if (target.type === "checkbox" && target.name === "answer" && target.checked) {
    for (const box of form.querySelectorAll("input[name=answer]:checked")) {
      if (box !== target && (alone.has(target.value) || alone.has(box.value))) box.checked = false;
    }
  }
  if (target.type === "radio") form.querySelectorAll("input[name^=field_]").forEach((field) => { field.value = ""; });
});
form.addEventListener("input", ({ target }) => {
  if (target.name.startsWith("field_") && target.value) {
    form.querySelectorAll("input[type=radio]:checked").forEach((radio) => { radio.checked = false; });
  }
});
