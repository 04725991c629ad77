// Before the first paint, so that nothing flashes: the theme that was chosen in this tab, if one was.
{
  const theme = sessionStorage.getItem("llm-usage-theme");
  if (theme) document.documentElement.dataset.theme = theme;
}
