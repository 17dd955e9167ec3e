defmodule Py.Stream do
  @moduledoc """
  The items of what a Python function gives, as an enumerable; `Py.stream/4` makes it.
  """

  alias Py.{Style, Work}

  @enforce_keys [:module, :function]
  defstruct [:module, :function, args: [], options: []]

  @type t :: %__MODULE__{module: Py.name(), function: Py.name(), args: [term], options: Py.options()}

  # What `:py.source/1` calls in a process of its own: the items of an enumerable, some at a time.
  @doc false
  def producer(enumerable, style) do
    fn ->
      case continue(Process.get(__MODULE__) || (&Enumerable.reduce(enumerable, &1, fn item, items -> next(item, items) end))) do
        {:suspended, items, further} -> given(items, further, style)
        {_ended, []} -> :done
        {_ended, items} -> given(items, fn _ -> {:done, []} end, style)
      end
    end
  end

  defp continue(reduce), do: reduce.({:cont, []})

  # One at a time: what comes slowly is not held back.
  defp next(item, items), do: {:suspend, [item | items]}

  defp given(items, further, style) do
    Process.put(__MODULE__, further)
    Style.to_python(Enum.reverse(items), style)
  end

  @doc false
  def resource(%__MODULE__{module: module, function: function, args: args, options: options}) do
    {keywords, style, options} = Work.given(options)

    Stream.resource(
      fn -> Work.rescued(fn -> :py.stream(module, function, Style.to_python(args, style), keywords, options) end) end,
      fn stream ->
        case Work.rescued(fn -> :py.stream_next(stream) end) do
          {:ok, item} -> {[Style.from_python(item, style)], stream}
          :done -> {:halt, stream}
        end
      end,
      fn stream -> Work.rescued(fn -> :py.stream_close(stream) end) end
    )
  end

  defimpl Enumerable do
    def reduce(stream, acc, fun), do: Enumerable.reduce(Py.Stream.resource(stream), acc, fun)
    def count(_stream), do: {:error, __MODULE__}
    def member?(_stream, _item), do: {:error, __MODULE__}
    def slice(_stream), do: {:error, __MODULE__}
  end
end
