defmodule Py.Error do
  @moduledoc """
  What a call of Python failed with.

      try do
        Py.call(:json, :loads, ["{"])
      rescue
        error in Py.Error -> {error.class, error.text}
      end

    * `class` - the full name of Python's exception class, such as `"builtins.ZeroDivisionError"`; `nil` where Python raised nothing
    * `text` - what the exception says
    * `traceback` - Python's traceback as text; `nil` where there is none
    * `reason` - why the bridge failed, such as `:timeout` or `{:worker_down, why}` (`docs/errors.md`); for an exception of Python's
      the tuple `{:python, class, text, frames}`
    * `message` - all of it, for people
  """

  defexception [:class, :text, :traceback, :reason, :message]

  @type t :: %__MODULE__{
          class: String.t() | nil,
          text: String.t() | nil,
          traceback: String.t() | nil,
          reason: term,
          message: String.t()
        }

  @doc false
  def of_python({:python, class, text, trace} = error, text) do
    message = text_of(error)
    traceback = if trace == [], do: nil, else: message
    %__MODULE__{class: Atom.to_string(class), text: as_text(text), traceback: traceback, reason: error, message: message}
  end

  @doc false
  def of_bridge(reason), do: %__MODULE__{reason: reason, message: text_of({:py, reason})}

  # The text that the Erlang function has about one of its arguments.
  @doc false
  def argument([{_, _, _, _} | _] = stack) do
    case :py_error.format_error(:badarg, stack) do
      texts when map_size(texts) > 0 -> Enum.map_join(texts, "; ", fn {_position, text} -> text end)
      _ -> "argument error"
    end
  end

  def argument(_stack), do: "argument error"

  defp text_of(error), do: error |> :py_error.text() |> as_text()

  defp as_text(text) do
    case :unicode.characters_to_binary(text) do
      text when is_binary(text) -> text
      _ -> inspect(text)
    end
  end
end
