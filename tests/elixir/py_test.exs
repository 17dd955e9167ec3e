defmodule Decimal do
  @moduledoc "As much of that library as a conversion touches, which can't be had here: the fields of its struct, and how text becomes one."
  defstruct sign: 1, coef: 0, exp: 0

  def new("NaN"), do: %Decimal{coef: :NaN}
  def new("-Infinity"), do: %Decimal{sign: -1, coef: :inf}

  def new(text) do
    [_, sign, whole, part] = Regex.run(~r/^(-?)(\d+)\.?(\d*)$/, text)
    %Decimal{sign: if(sign == "-", do: -1, else: 1), coef: String.to_integer(whole <> part), exp: -String.length(part)}
  end
end

defmodule Py.PyTest do
  use ExUnit.Case

  doctest Py

  # There and back, and what it is in Python.
  defp there_and_back(value) do
    [{back, shown}] = Py.eval("[(value, repr(value))]", value: value)
    {back, shown}
  end

  test "values come back as they went" do
    for {value, shown} <- [
          {nil, "None"},
          {:undefined, "Atom('undefined')"},
          {"tea ☕", "'tea ☕'"},
          {[true, nil, 1.5], "[True, None, 1.5]"},
          {%{"a" => [nil, {1, ~D[2024-02-29]}]}, "{'a': [None, (1, datetime.date(2024, 2, 29))]}"},
          {%{~D[2024-02-29] => nil}, "{datetime.date(2024, 2, 29): None}"},
          {~D[2024-02-29], "datetime.date(2024, 2, 29)"},
          {~T[12:30:00], "datetime.time(12, 30)"},
          {~T[12:30:00.000001], "datetime.time(12, 30, 0, 1)"},
          {~N[2024-01-01 10:00:00], "datetime.datetime(2024, 1, 1, 10, 0)"},
          {~U[2024-01-01 10:00:00.120000Z],
           "datetime.datetime(2024, 1, 1, 10, 0, 0, 120000, tzinfo=datetime.timezone.utc)"},
          {MapSet.new([1, "a"]), nil},
          {MapSet.new([MapSet.new([1])]), "{frozenset({1})}"},
          {1..10, "range(1, 11)"},
          {10..1//-3, "range(10, 0, -3)"},
          {1..0//1, "range(1, 1)"},
          {-70_000..-300//7, "range(-70000, -299, 7)"},
          {0..1_000_000_000_000_000_000_000, "range(0, 1000000000000000000001)"},
          {%{__struct__: Decimal, sign: 1, coef: 110, exp: -2}, "Decimal('1.10')"},
          {%{__struct__: Decimal, sign: -1, coef: :inf, exp: 0}, "Decimal('-Infinity')"}
        ] do
      {back, repr} = there_and_back(value)
      assert back === value
      if shown, do: assert(repr == shown)
    end
  end

  test "a range of Python's is the range of the same numbers" do
    for {start, stop, step} <- [{0, 10, 3}, {10, 0, -4}, {5, 5, 1}, {5, 1, 1}, {255, 256, 1}, {0, 70_000, 1}] do
      range = Py.call(:builtins, :range, [start, stop, step])
      assert %Range{} = range
      assert Enum.to_list(range) == Py.call(:builtins, :list, [Py.call(:builtins, :range, [start, stop, step])])
    end
  end

  test "a time with an offset keeps it, and one of a zone keeps its moment" do
    moment = Py.call("datetime.datetime", :fromisoformat, ["2024-01-01T10:00:00-05:30"])
    assert {moment.utc_offset, moment.hour} == {-19_800, 10}
    assert DateTime.compare(moment, ~U[2024-01-01 15:30:00Z]) == :eq
    assert Py.method(moment, :isoformat) == "2024-01-01T10:00:00-05:30"

    summer = %{~U[2024-07-01 12:00:00Z] | time_zone: "Europe/Paris", zone_abbr: "CEST", utc_offset: 3600, std_offset: 3600}
    assert Py.method(summer, :isoformat) == "2024-07-01T12:00:00+02:00"
  end

  test "a struct without a Python type is refused before anything is sent, at any depth" do
    for value <- [~r/tea/, [%{a: %URI{}}], {1, MapSet.new([%URI{}])}] do
      assert_raise ArgumentError, ~r/there is no Python type for %(Regex|URI)\{\}/, fn -> Py.call(:builtins, :repr, [value]) end
    end
  end

  test "a value that Python's type can't hold is refused, and is no tuple there" do
    far = %Date{year: 10_000, month: 1, day: 1}
    east = %{~U[2024-01-01 10:00:00Z] | time_zone: "X", zone_abbr: "X", utc_offset: 90_000}
    sets = for elements <- [[1, 1.0], [0, false], [:a, "a"], [{1, 2}, {1.0, 2}], [%{}], [[:a]]], do: MapSet.new(elements)

    for value <- [~D[-0001-01-01], far, ~N[-0005-01-01 00:00:00], east, [MapSet.new([hd(sets)])] | sets] do
      assert_raise ArgumentError, ~r/Python/, fn -> Py.call(:builtins, :repr, [value]) end
    end

    assert Py.call(:builtins, :len, [MapSet.new([nil, ~c"tea", "cup", {1, ~D[2024-02-29]}, MapSet.new([1])])]) == 5
  end

  test "keywords that are no pairs are refused" do
    assert_raise ArgumentError, ~r/keywords are pairs/, fn -> Py.call(:builtins, :dict, [], keywords: [1]) end
    assert Py.call(:builtins, :dict, [], keywords: %{a: 1..2}) == %{"a" => 1..2}
  end

  test "an exception has Python's class, text and traceback" do
    error = assert_raise Py.Error, fn -> Py.call(:json, :loads, ["{"]) end
    assert error.class == "json.decoder.JSONDecodeError"
    assert error.text =~ "Expecting property name"
    assert error.traceback =~ ~r/Traceback \(most recent call last\):.*, in loads/s
    assert {:python, :"json.decoder.JSONDecodeError", _, [_ | _]} = error.reason
    assert Exception.message(error) =~ "JSONDecodeError: Expecting"
  end

  test "a failure of the bridge has its reason" do
    assert %{class: nil, reason: :timeout} = assert_raise(Py.Error, fn -> Py.call(:time, :sleep, [60], timeout: 20) end)
    assert %{reason: {:unknown_pool, :nowhere}} = assert_raise(Py.Error, fn -> Py.const(:math, :pi, pool: :nowhere) end)
  end

  test "a wrong option is told with the nearest that there is" do
    assert_raise ArgumentError, ~r/unknown option tmeout \(did you mean timeout\?\)/, fn ->
      Py.call(:math, :sqrt, [2], tmeout: 20)
    end

    assert_raise ArgumentError, ~r/:style/, fn -> Py.call(:math, :sqrt, [2], style: :lfe) end
    assert_raise ArgumentError, ~r/needs a name/, fn -> Py.child_spec(size: 1) end
    assert_raise ArgumentError, ~r/unknown option sise/, fn -> Py.child_spec(name: :ml, sise: 1) end
  end

  test "what Elixir raises that Python calls is raised as it was" do
    assert_raise ArgumentError, fn -> Py.call(:erl, :call, [:erlang, :binary_to_integer, [{:bytes, "tea"}]]) end
  end

  test "a pool says the style of its calls" do
    for {style, expected} <- [erlang: {~c"dict", [{~c"a", :undefined}]}, elixir: %{"a" => nil}] do
      start_supervised!({Py, name: :styled, size: 1, style: style}, id: style)
      assert Py.call(:json, :loads, [~s({"a": null})], pool: :styled) == expected
      assert Py.call(:json, :loads, [~s({"a": null})], pool: :styled, style: :elixir) == %{"a" => nil}
      :ok = stop_supervised!(style)
    end
  end

  test "a pool of style elixir has binaries and maps for the Erlang module, too" do
    start_supervised!({Py, name: :styled, size: 1, style: :elixir})
    assert :py.func(:json, :loads, [~s({"a": ["x", null]})], %{pool: :styled}) == %{"a" => ["x", nil]}
  end

  test "the application's environment says it for all" do
    Application.put_env(:py, :style, :erlang)
    assert Py.call(:builtins, :str, [1]) == ~c"1"
  after
    Application.delete_env(:py, :style)
  end

  test "a stream is closed when the enumeration ends early, and can be enumerated again" do
    start_supervised!({Py, name: :one, size: 1, python_path: [__DIR__]})
    stream = Py.stream(:elixir_programs, :cups, [9], pool: :one, window: 2)
    assert Enum.take(stream, 2) == [%{"cup" => 0}, %{"cup" => 1}]
    assert Py.const(:elixir_programs, :closed, pool: :one) == [9]
    assert Enum.count(stream) == 9
    assert Enum.zip(stream, stream) |> Enum.all?(fn {a, b} -> a == b end)
    assert Py.const(:elixir_programs, :closed, pool: :one) == [9, 9, 9, 9]
    assert Enum.to_list(Py.stream(:builtins, :iter, [[nil, ~D[2024-01-01]]])) == [nil, ~D[2024-01-01]]
  end

  test "an error of a stream is raised where it is read" do
    stream = Py.stream(:builtins, :map, [Py.const(:math, :sqrt, return: :ref), [4, -1]])
    assert Enum.take(stream, 1) == [2.0]
    assert %{class: "builtins.ValueError"} = assert_raise(Py.Error, fn -> Enum.to_list(stream) end)
  end

  test "a source ends with its enumerable, an empty one at once" do
    assert Py.call(:builtins, :list, [Py.source([])]) == []
    assert Py.call(:builtins, :list, [Py.source([1, nil, ~D[2024-01-01]])]) == [1, nil, ~D[2024-01-01]]
    assert Py.call(:builtins, :sum, [Py.source(Stream.take(Stream.iterate(1, &(&1 + 1)), 1000))]) == 500_500
  end

  test "code in Elixir has the variables around it that it mentions" do
    import Py, only: [sigil_P: 2]
    cups = %{"green" => 2, "black" => 3}
    tea = "green"
    assert ~P"cups[tea] + len(cups)" == 4
  end

  test "a session of its own keeps its names apart" do
    session = Py.session()
    assert Py.eval("name = 1", [], session: session) == nil
    assert Py.eval("name", [], session: session) == 1
    assert_raise Py.Error, ~r/name 'name' is not defined/, fn -> Py.eval("name") end
    :py_session.close(session)
  end
end
