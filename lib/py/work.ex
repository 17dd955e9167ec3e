defmodule Py.Work do
  @moduledoc false
  # What the functions of `Py` have in common: options, the style of values, and errors.

  alias Py.Style

  def run(options, fun) do
    {keywords, style, options} = given(options)
    Style.from_python(rescued(fn -> fun.(keywords, style, options) end), style)
  end

  # The keywords for Python, the style of a call, and the options that `:py` takes.
  def given(options) do
    {keywords, options} = options |> Map.new() |> Map.pop(:keywords, [])
    {style, options} = style(options)
    {Enum.map(keywords, &keyword(&1, style)), style, options}
  end

  defp keyword({name, value}, style), do: {name, Style.to_python(value, style)}
  defp keyword(other, _style), do: raise(ArgumentError, "keywords are pairs of a name and a value, not #{inspect(other)}")

  defp style(options) do
    {given, options} = Map.pop(options, :style)
    style = given || of_pool(options) || Application.get_env(:py, :style, :elixir)

    case style do
      :elixir -> {style, Map.merge(Style.options(), options)}
      :erlang -> {style, options}
      _ -> raise ArgumentError, "option :style must be :elixir or :erlang, not #{inspect(style)}"
    end
  end

  defp of_pool(options) do
    case :py_registry.pool(Map.get(options, :pool, :default)) do
      {:ok, %{style: style}} when style != :undefined -> style
      _ -> nil
    end
  end

  def rescued(fun) do
    fun.()
  catch
    :error, {:python, class, text, trace} = error when is_atom(class) and is_list(trace) ->
      reraise Py.Error.of_python(error, text), __STACKTRACE__

    :error, {:py, reason} ->
      reraise Py.Error.of_bridge(reason), __STACKTRACE__

    :error, :badarg ->
      reraise ArgumentError, [message: Py.Error.argument(__STACKTRACE__)], __STACKTRACE__
  end

  # The variables around it that the code mentions, and the code.
  def sigil({:<<>>, _, [code]}, _modifiers, caller) when is_binary(code) do
    mentioned = MapSet.new(List.flatten(Regex.scan(~r/[\p{L}_][\p{L}\p{N}_]*/u, code)))

    variables =
      for {name, nil} <- Macro.Env.vars(caller), MapSet.member?(mentioned, Atom.to_string(name)) do
        {name, Macro.var(name, nil)}
      end

    quote do
      Py.eval(unquote(code), unquote(variables))
    end
  end
end
