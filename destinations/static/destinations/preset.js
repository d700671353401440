// On the add form, another preset fills the fields anew; what identifies the destination is kept.
document.addEventListener("DOMContentLoaded", () => {
  const preset = document.getElementById("id_preset");
  if (!preset || !window.location.pathname.endsWith("/add/")) return;
  preset.addEventListener("change", () => {
    const query = new URLSearchParams({ preset: preset.value });
    for (const name of ["name", "title"]) {
      const value = document.getElementById(`id_${name}`).value;
      if (value) query.set(name, value);
    }
    window.location.search = query.toString();
  });
});
