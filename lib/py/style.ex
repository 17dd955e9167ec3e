defmodule Py.Style do
  @moduledoc """
  What values are with `style: :elixir`, beside what the options of `:py` make of them.

  | Python | Elixir |
  |---|---|
  | `str` | a binary |
  | `dict` | a map |
  | `None` | `nil` |
  | `date`, `time` | `Date`, `Time` |
  | `datetime` without a zone | `NaiveDateTime` |
  | `datetime` with one | `DateTime` |
  | `Decimal` | `Decimal`, where that library is loaded |
  | `set`, `frozenset` | `MapSet` |
  | `range` | `Range` |

  On its way to Python a `MapSet` is a `set`, inside another one or as a key a `frozenset`. A time of whole seconds has the precision 0, any
  other six digits. A `DateTime` in UTC, or with an offset alone, is a `datetime` with a `timezone`; one with the name of a zone has a `ZoneInfo` where
  Elixir has a database of zones, which must agree, and the same offset as a `timezone` otherwise. A zone by its name that Elixir has no database for, and a
  `Decimal` without that library, stay what they are in `:py`: `{~c"Decimal", ~c"1.10"}`, for example.

  Any other struct is an `ArgumentError`: say what of it Python is to have, with `Map.from_struct/1` for example.
  """

  @type style :: :elixir | :erlang

  # The heads of the tagged forms of `docs/values.md`.
  @date ~c"date"
  @time ~c"time"
  @datetime ~c"datetime"
  @timezone ~c"timezone"
  @zoneinfo ~c"zoneinfo"
  @decimal ~c"Decimal"
  @set ~c"set"
  @frozenset ~c"frozenset"
  @range ~c"range"

  # pickle's protocols 4 and 5: a frame of one byte's length, builtins.range, the arguments, a call.
  @range_pickle <<0x8C, 8, "builtins", 0x94, 0x8C, 5, "range", 0x94, 0x93, 0x94>>

  @doc "The options of `:py` that belong to `style: :elixir`."
  @spec options() :: %{atom => atom}
  def options, do: %{strings: :binary, dicts: :map, none: nil}

  # To Python

  @doc "A value as `:py` takes it; with `style: :erlang` it stays as it is."
  @spec to_python(term, style) :: term
  def to_python(term, :erlang), do: term
  def to_python(term, :elixir), do: if(plain_out?(term), do: term, else: out(term))

  # Most values have nothing to be changed, and are not copied.
  defp plain_out?(%_{}), do: false
  defp plain_out?([item | rest]), do: plain_out?(item) and plain_out?(rest)
  defp plain_out?(tuple) when is_tuple(tuple), do: plain_out?(Tuple.to_list(tuple))
  defp plain_out?(map) when is_map(map), do: plain_out?(Map.keys(map)) and plain_out?(Map.values(map))
  defp plain_out?(_term), do: true

  defp out(%Date{} = date), do: {@date, erl_date(Date.convert!(date, Calendar.ISO), date)}
  defp out(%Time{} = time), do: {@time, clock(Time.convert!(time, Calendar.ISO), nil)}

  defp out(%NaiveDateTime{} = naive) do
    converted = NaiveDateTime.convert!(naive, Calendar.ISO)
    {@datetime, joined(erl_date(converted, naive), clock(converted, nil))}
  end

  defp out(%DateTime{} = moment) do
    converted = DateTime.convert!(moment, Calendar.ISO)
    {@datetime, joined(erl_date(converted, moment), clock(converted, zone(converted)))}
  end

  defp out(%MapSet{} = set), do: {@set, elements(set)}
  defp out(%Range{first: first, last: last, step: step}), do: {@range, {first, last + div(step, abs(step)), step}}
  defp out(%{__struct__: Decimal, sign: sign, coef: coef, exp: exp}), do: {@decimal, decimal(sign, coef, exp)}
  defp out(%Py.Stream{}), do: raise(ArgumentError, "a stream of Python's is no argument: Py.source(stream) makes one of it")

  defp out(%module{}) do
    raise ArgumentError,
          "there is no Python type for %#{inspect(module)}{}: give Python what it needs of it, such as Map.from_struct/1, " <>
            "Enum.to_list/1 or a text"
  end

  defp out([item | rest]), do: [out(item) | out(rest)]
  defp out(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> out() |> List.to_tuple()
  defp out(map) when is_map(map), do: Map.new(map, fn {key, value} -> {hashable(key), out(value)} end)
  defp out(term), do: term

  defp hashable(%MapSet{} = set), do: {@frozenset, elements(set)}
  defp hashable(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> Enum.map(&hashable/1) |> List.to_tuple()
  defp hashable(term), do: out(term)

  # What a set of Python's can't hold, or holds as one, would make a tuple of it.
  defp elements(set) do
    elements = Enum.map(set, &hashable/1)
    keys = Enum.map(elements, &key/1)

    if Enum.uniq(keys) != keys do
      raise ArgumentError, "two elements of #{inspect(set, limit: 10)} are equal in Python, as 1, 1.0 and true are"
    end

    elements
  end

  # Equal where they are equal in Python.
  defp key(true), do: 1
  defp key(false), do: 0
  defp key(number) when is_float(number) and number == trunc(number), do: trunc(number)
  defp key(atom) when is_atom(atom) and atom != nil, do: {:text, Atom.to_string(atom)}
  defp key(text) when is_binary(text), do: {:text, text}
  defp key({@frozenset, elements}) when is_list(elements), do: {:set, elements |> Enum.map(&key/1) |> Enum.sort()}
  defp key(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> Enum.map(&key/1) |> List.to_tuple()

  defp key(map) when is_map(map), do: unhashable(map)
  # A list there is a text; what one with another end is, Python says.
  defp key(list) when is_list(list), do: if(text?(list), do: {:charlist, list}, else: unhashable(list))
  defp key(term), do: term

  defp text?([point | rest]), do: is_integer(point) and point in 0..0x10FFFF and text?(rest)
  defp text?(_end), do: true

  defp unhashable(term) do
    raise ArgumentError, "a set of Python's can't hold #{inspect(term, limit: 10)}: it holds no lists and no maps"
  end

  defp erl_date(%{year: year, month: month, day: day}, _given) when year in 1..9999, do: {year, month, day}

  defp erl_date(_converted, given) do
    raise ArgumentError, "there is no Python type for #{inspect(given)}: its years are 1 to 9999"
  end

  defp clock(%{hour: hour, minute: minute, second: second, microsecond: {us, _}}, zone), do: {hour, minute, second, us, zone}
  defp joined({year, month, day}, {hour, minute, second, us, zone}), do: {year, month, day, hour, minute, second, us, zone}

  # By its name where Python, which takes the first of two equal times, comes to the same offset.
  defp zone(%DateTime{time_zone: name, utc_offset: utc, std_offset: std} = moment) do
    offset = utc + std

    case name != "Etc/UTC" and DateTime.from_naive(DateTime.to_naive(moment), name) do
      {:ok, %{utc_offset: u, std_offset: s}} when u + s == offset -> {@zoneinfo, String.to_charlist(name)}
      {:ambiguous, %{utc_offset: u, std_offset: s}, _} when u + s == offset -> {@zoneinfo, String.to_charlist(name)}
      _ when abs(offset) < 86_400 -> {@timezone, offset}
      _ -> raise ArgumentError, "there is no Python type for #{inspect(moment)}: its offsets are less than a day"
    end
  end

  defp decimal(_sign, :NaN, _exp), do: "NaN"
  defp decimal(sign, :inf, _exp), do: minus(sign) <> "Infinity"
  defp decimal(sign, coef, exp), do: minus(sign) <> Integer.to_string(coef) <> "E" <> Integer.to_string(exp)

  defp minus(1), do: ""
  defp minus(-1), do: "-"

  # From Python

  @doc "A value as `:py` gives it, with Elixir's structs; with `style: :erlang` it stays as it is."
  @spec from_python(term, style) :: term
  def from_python(term, :erlang), do: term
  def from_python(term, :elixir), do: if(plain_in?(term), do: term, else: back(term))

  defp plain_in?(list) when is_list(list), do: plain_list_in?(list)
  defp plain_in?(tuple) when is_tuple(tuple), do: tuple_size(tuple) == 0
  defp plain_in?(map) when is_map(map), do: plain_in?(Map.keys(map)) and plain_in?(Map.values(map))
  defp plain_in?(_term), do: true

  defp plain_list_in?([item | rest]), do: plain_in?(item) and plain_list_in?(rest)
  defp plain_list_in?([]), do: true
  defp plain_list_in?(end_of_improper), do: plain_in?(end_of_improper)

  defp back({@date, {year, month, day}} = form), do: made(Date.new(year, month, day), form)

  defp back({@time, {hour, minute, second, us, nil}} = form), do: made(Time.new(hour, minute, second, precise(us)), form)

  defp back({@datetime, {year, month, day, hour, minute, second, us, zone}} = form) do
    case NaiveDateTime.new(year, month, day, hour, minute, second, precise(us)) do
      {:ok, naive} when zone == nil -> naive
      {:ok, naive} -> in_zone(naive, zone, form)
      _ -> form
    end
  end

  defp back({@decimal, digits} = form) do
    if decimal?(), do: made({:ok, apply(Decimal, :new, [List.to_string(digits)])}, form), else: form
  rescue
    _ -> form
  end

  defp back({set, items}) when set in [@set, @frozenset] and is_list(items), do: MapSet.new(items, &back/1)

  defp back({:"$erlport.opaque", :python, <<0x80, _, 0x95, size::little-64, pickle::binary-size(size), _::binary>>} = opaque) do
    case pickle do
      <<@range_pickle, args::binary>> -> range(integers(args, []), opaque)
      _ -> opaque
    end
  end

  defp back(list) when is_list(list), do: back_list(list)
  defp back(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> back_list() |> List.to_tuple()
  defp back(map) when is_map(map), do: Map.new(map, fn {key, value} -> {back(key), back(value)} end)
  defp back(term), do: term

  defp back_list([item | rest]), do: [back(item) | back_list(rest)]
  defp back_list([]), do: []
  defp back_list(end_of_improper), do: back(end_of_improper)

  defp made({:ok, value}, _form), do: value
  defp made(_error, form), do: form

  defp precise(0), do: {0, 0}
  defp precise(us), do: {us, 6}

  defp in_zone(naive, {@timezone, 0}, _form), do: DateTime.from_naive!(naive, "Etc/UTC")

  defp in_zone(naive, {@timezone, offset}, _form) do
    name = offset_name(offset)
    fields = naive |> Map.from_struct() |> Map.merge(%{time_zone: name, zone_abbr: name, utc_offset: offset, std_offset: 0})
    struct!(DateTime, fields)
  end

  defp in_zone(naive, {@zoneinfo, name}, form) do
    case DateTime.from_naive(naive, to_string(name)) do
      {:ok, moment} -> moment
      # Python's `fold` is 0: the first of the two.
      {:ambiguous, first, _second} -> first
      _ -> form
    end
  end

  defp in_zone(_naive, _zone, form), do: form

  defp offset_name(offset) do
    sign = if offset < 0, do: "-", else: "+"
    parts = for part <- [div(abs(offset), 3600), rem(div(abs(offset), 60), 60)], do: String.pad_leading("#{part}", 2, "0")
    sign <> Enum.join(parts, ":")
  end

  defp decimal?, do: :erlang.function_exported(Decimal, :new, 1) or Code.ensure_loaded?(Decimal)

  defp range([start, stop, step], _opaque), do: %Range{first: start, last: stop - div(step, abs(step)), step: step}
  defp range(_other, opaque), do: opaque

  # The three arguments of the pickled range, behind which it is called.
  defp integers(<<?K, number, rest::binary>>, found), do: integers(rest, [number | found])
  defp integers(<<?M, number::little-16, rest::binary>>, found), do: integers(rest, [number | found])
  defp integers(<<?J, number::little-signed-32, rest::binary>>, found), do: integers(rest, [number | found])

  defp integers(<<0x8A, size, number::little-signed-size(size)-unit(8), rest::binary>>, found),
    do: integers(rest, [number | found])

  defp integers(<<0x87, 0x94, ?R, 0x94, ?.>>, found), do: Enum.reverse(found)
  defp integers(_other, _found), do: []
end
