defmodule Py.PagesTest do
  @moduledoc """
  What the pages show is what happens: each `iex>` of their `elixir` blocks is evaluated, the variables and imports of a page are kept
  up to its end. White space does not count, `...` stands for anything, and of an error the first line is shown.
  """
  use ExUnit.Case

  @root Path.expand("../..", __DIR__)

  test "the pages show what IEx shows" do
    pages = for page <- ["README.md", "docs/*.md"], file <- Path.wildcard(Path.join(@root, page)), do: file
    steps = Enum.map(pages, &steps(File.read!(&1)))
    assert steps |> List.flatten() |> length() > 40
    assert [] == Enum.flat_map(steps, &differences/1)
  end

  test "Elixir that is shown without a prompt is Elixir" do
    shown =
      for file <- Path.wildcard(Path.join(@root, "docs/*.md")),
          [_, block] <- Regex.scan(~r/^```elixir\n(.*?)^```$/ms, File.read!(file)),
          not (block =~ ~r/^iex> /m),
          # Sigils of two letters came with 1.15.
          not (block =~ "~PY" and Version.match?(System.version(), "< 1.15.0")),
          do: {Path.basename(file), Code.string_to_quoted(block)}

    assert length(shown) >= 5
    assert [] == for({page, {:error, why}} <- shown, do: {page, why})
  end

  test "what stands here for what Pythonx has runs" do
    [_, table] = File.read!(Path.join(@root, "docs/elixir.md")) |> String.split("| Elixir here |", parts: 2)
    rows = Regex.scan(~r/^\|.*\| `([^`]+)` \|$/m, table)
    assert length(rows) >= 6
    for [_, row] <- rows, do: assert({_, _} = Code.eval_string(row))
  end

  test "a result that differs is told" do
    for {shown, count} <- [
          {"iex> 1 + 1\n2\n", 0},
          {"iex> 1 + 1\n3\n", 1},
          {"iex> [1,\n...> 2]\n[...2]\n", 0},
          {"iex> x = 1\n1\niex> x + 1\n2\n", 0},
          {"iex> raise \"tea\"\n** (RuntimeError) te...\n", 0},
          {"iex> raise \"tea\"\n** (ArgumentError) tea\n", 1},
          {"iex> raise \"tea\"\n1\n", 1}
        ] do
      assert count == length(differences(steps("```elixir\n" <> shown <> "```\n")))
    end
  end

  # `{typed, shown}` for each prompt.
  defp steps(page) do
    for [_, block] <- Regex.scan(~r/^```elixir\n(.*?)^```$/ms, page),
        [_, typed, shown] <- Regex.scan(~r/^iex> (.*\n(?:\.\.\.> ?.*\n)*)((?:(?!iex> ).*\n)*)/m, block) do
      {String.replace(typed, ~r/^\.\.\.> ?/m, ""), shown}
    end
  end

  defp differences(steps) do
    {found, _} = Enum.flat_map_reduce(steps, {[], __ENV__}, fn {typed, shown}, context -> step(typed, shown, context) end)
    found
  end

  defp step(typed, shown, {binding, env}) do
    {real, context} =
      try do
        {value, binding, env} = Code.eval_string(typed, binding, env) |> with_env(typed, env)
        {inspect(value, limit: 50), {binding, env}}
      rescue
        error -> {"** (#{inspect(error.__struct__)}) #{Exception.message(error)}", {binding, env}}
      end

    if matches?(shown, real), do: {[], context}, else: {[%{typed: typed, shown: shown, real: real}], context}
  end

  # An import holds for what follows.
  defp with_env({value, binding}, typed, env) do
    if String.starts_with?(typed, "import ") do
      {:ok, quoted} = Code.string_to_quoted(typed)
      {_, _, env} = Code.eval_quoted_with_env(quoted, binding, env)
      {value, binding, env}
    else
      {value, binding, env}
    end
  end

  defp matches?(shown, real) do
    pattern = shown |> squeezed() |> String.split("...") |> Enum.map_join(".*", &Regex.escape/1)
    ending = if String.starts_with?(shown, "** "), do: "", else: "$"
    Regex.match?(Regex.compile!("^" <> pattern <> ending, "su"), squeezed(real))
  end

  # Before Elixir 1.15 charlists are shown in single quotes.
  defp squeezed(text), do: text |> String.replace(~r/~c"([^"]*)"/, "'\\1'") |> String.replace(~r/\s+/, "")
end
