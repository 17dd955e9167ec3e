{:ok, :started} = :py.start()
ExUnit.start(colors: [enabled: false], seed: 0)

defmodule FailingTest do
  use ExUnit.Case

  test "raises" do
    assert :py.func(:json, :loads, ["{"]) == 1
  end

  test "has a wrong option" do
    assert :py.func(:math, :sqrt, [2], %{tmeout: 5}) == 1
  end

  test "expects another exception" do
    assert_raise ArgumentError, fn -> :py.truediv(1, 0) end
  end

  test "passes" do
    assert_raise ErlangError, ~r/division by zero/, fn -> :py.truediv(1, 0) end
  end
end
