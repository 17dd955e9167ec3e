%%% Wait for what happens elsewhere: ask again until it holds or the deadline has passed.
-module(py_eventually).

-export([holds/1, holds/2, equals/2, equals/3]).

-define(DEADLINE_MS, 60_000).
-define(PAUSE_MS, 10).

%% @doc The condition becomes true within a minute.
-spec holds(fun(() -> boolean())) -> ok.
holds(Condition) -> holds(Condition, ?DEADLINE_MS).

%% @doc The condition becomes true within this many milliseconds.
-spec holds(fun(() -> boolean()), non_neg_integer()) -> ok.
holds(Condition, WithinMs) ->
    poll(fun() -> {Condition(), true} end, erlang:monotonic_time(millisecond) + WithinMs).

%% @doc The function's value becomes the expected one within a minute.
-spec equals(term(), fun(() -> term())) -> ok.
equals(Expected, Fun) -> equals(Expected, Fun, ?DEADLINE_MS).

%% @doc The function's value becomes the expected one within this many milliseconds.
-spec equals(term(), fun(() -> term()), non_neg_integer()) -> ok.
equals(Expected, Fun, WithinMs) ->
    poll(fun() -> {Fun(), Expected} end, erlang:monotonic_time(millisecond) + WithinMs).

poll(Look, Deadline) ->
    case Look() of
        {Value, Value} ->
            ok;
        {Value, Expected} ->
            erlang:monotonic_time(millisecond) > Deadline andalso
                error({never, #{expected => Expected, last => Value}}),
            %% The pause between two looks.
            receive after ?PAUSE_MS -> ok end,
            poll(Look, Deadline)
    end.
