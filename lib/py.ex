defmodule Py do
  @moduledoc """
  Python from Elixir.

      iex> Py.call(:math, :sqrt, [2])
      1.4142135623730951
      iex> Py.call(:json, :loads, [~s({"tea": ["green", null]})])
      %{"tea" => ["green", nil]}

  A function of a Python module runs in one of the Pythons of a pool. Names are atoms or strings, and may be dotted.
  `docs/elixir.md` shows all of this at work; what is not here has the Erlang module `:py`.

  ## Values

  With `style: :elixir`, the default, a Python `str` is a binary, a `dict` a map, `None` is `nil`, and dates, times, decimals,
  sets and ranges are Elixir's structs, both ways: `Py.Style` has the table. `style: :erlang` gives what `:py` gives. It is said for
  a call, for a pool (`{Py, name: :ml, style: :erlang}`, or in `config.exs`), or for all (`config :py, style: :erlang`).

  ## Options

  Each function takes a keyword list of:

    * `:pool` - the name of a pool (default `:default`)
    * `:timeout` - milliseconds or `:infinity`, for waiting, sending and running (default: the pool's)
    * `:keywords` - keyword arguments for Python, such as `[base: 2]`
    * `:style` - `:elixir` or `:erlang`
    * the other options of a call of `:py`: `:worker`, `:node`, `:scope`, `:retry`, `:return`, `:arrays` and so on
      (`docs/functions.md`)

  ## Errors

  What Python raises, and what the bridge fails with, is a `Py.Error`. A wrong argument or option is an `ArgumentError`.
  """

  alias Py.{Style, Work}

  @type name :: atom | String.t()
  @type options :: keyword | %{optional(atom) => term}

  @doc """
  Call a function of a Python module.

      iex> Py.call(:builtins, :int, ["101010"], keywords: [base: 2])
      42
      iex> Py.call(:math, :hypot, [3, 4], timeout: 5_000)
      5.0

  Raises `Py.Error` with what Python raised (`class`, `text`, `traceback`), or with the `reason` for which the bridge failed, such as
  `:timeout`.
  """
  @spec call(name, name, [term], options) :: term
  def call(module, function, args \\ [], options \\ []) do
    Work.run(options, fn keywords, style, options ->
      :py.func(module, function, Style.to_python(args, style), keywords, options)
    end)
  end

  @doc "Call a method of an object that Python gave: of a reference, an opaque, or a value such as a date."
  @spec method(term, name, [term], options) :: term
  def method(object, name, args \\ [], options \\ []) do
    Work.run(options, fn keywords, style, options ->
      :py.method(Style.to_python(object, style), name, Style.to_python(args, style), keywords, options)
    end)
  end

  @doc "An attribute of an object."
  @spec attr(term, name, options) :: term
  def attr(object, name, options \\ []) do
    Work.run(options, fn [], style, options -> :py.attr(Style.to_python(object, style), name, options) end)
  end

  @doc """
  The value of a name in a module.

      iex> Py.const(:math, :pi)
      3.141592653589793
  """
  @spec const(name, name, options) :: term
  def const(module, name, options \\ []) do
    Work.run(options, fn [], _style, options -> :py.const(module, name, options) end)
  end

  @doc """
  The function of each item, in order; the items travel in chunks, on all workers of the pool. Options are also `:chunk`, `:ordered`,
  `:progress`, `:window` (`docs/parallel.md`).

      iex> Py.pmap([1, 4, 9], :math, :sqrt)
      [1.0, 2.0, 3.0]
  """
  @spec pmap(Enumerable.t(), name, name, options) :: [term]
  def pmap(enumerable, module, function, options \\ []) do
    Work.run(options, fn [], style, options ->
      :py.pmap(module, function, Style.to_python(Enum.to_list(enumerable), style), options)
    end)
  end

  @doc """
  The items of what a Python function gives, a generator or anything else to iterate over, as an enumerable. The function is called
  each time when somebody begins to enumerate, and Python is at most `:window` items ahead (256).

      iex> Py.stream(:itertools, :count, [0, 7]) |> Enum.take(3)
      [0, 7, 14]
  """
  @spec stream(name, name, [term], options) :: Py.Stream.t()
  def stream(module, function, args \\ [], options \\ []) do
    %Py.Stream{module: module, function: function, args: args, options: options}
  end

  @doc """
  An argument that Python iterates over: an enumerable, which is read in a process of its own, at most a batch ahead.

      iex> Py.call(:builtins, :sum, [Py.source(Stream.map(1..1_000, &(&1 * &1)))])
      333833500
  """
  @spec source(Enumerable.t(), options) :: term
  def source(enumerable, options \\ []) do
    {_keywords, style, options} = Work.given(options)
    options = Map.drop(options, [:strings, :dicts])
    Work.rescued(fn -> :py.source(Py.Stream.producer(enumerable, style), options) end)
  end

  @doc """
  Run Python code in a session, with these variables, and give the value of its last line, `nil` where that is no expression. Without
  the option `:session` that is the session of the calling process, which keeps its names until the process ends.

      iex> Py.eval("total = sum(numbers)", numbers: [1, 2, 3])
      nil
      iex> Py.eval("total * 2")
      12
  """
  @spec eval(String.t(), keyword | map, options) :: term
  def eval(code, variables \\ [], options \\ []) do
    {session, options} = Map.pop_lazy(Map.new(options), :session, fn -> :py_session.own() end)

    Work.run(options, fn [], style, options ->
      for {name, value} <- variables, do: :py_session.define(session, name, Style.to_python(value, style))
      :py_session.eval(session, code, options)
    end)
  end

  @doc """
  A session of its own for `eval/3`: a Python with a namespace that stays until `:py_session.close/1`, or until the calling process ends.
  Options are those of `:py_session.open/1`.
  """
  @spec session(options) :: term
  def session(options \\ []), do: Work.rescued(fn -> :py_session.open(Map.merge(%{persistent: true}, Map.new(options))) end)

  @doc """
  Python code in the session of the calling process, as `eval/1` runs it. The variables of the Elixir code around it that it mentions
  are defined before; those that were assigned in Python stay there.

      import Py, only: [sigil_PY: 2]
      numbers = [1, 2, 3]
      ~PY"sum(numbers)"

  Elixir before 1.15 reads sigils of one letter only: there it is `~P`.
  """
  defmacro sigil_PY(code, modifiers), do: Work.sigil(code, modifiers, __CALLER__)

  @doc "The same for Elixir before 1.15."
  defmacro sigil_P(code, modifiers), do: Work.sigil(code, modifiers, __CALLER__)

  @doc """
  A pool as a child of a supervisor: `{Py, name: :ml, size: 2}`. Options are those of a pool (`docs/servers.md`), `:name`, and `:style`.

  The pool starts before the children behind it, and when the supervisor ends it, its open calls may end within its `:drain_timeout`.
  """
  @spec child_spec(keyword | map) :: Supervisor.child_spec()
  def child_spec(options) do
    {name, options} = options |> Map.new() |> Map.pop(:name)
    is_nil(name) && raise ArgumentError, "a pool needs a name: {Py, name: :ml, size: 2}"
    Work.rescued(fn -> :py.child_spec(name, options) end)
  end
end
