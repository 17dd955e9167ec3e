%%% @doc When a worker that lost its interpreter may start the next. Pure: the clock is an argument.
%%%
%%% Up to `max' deaths within `within' milliseconds are followed by the base `delay'; from then on the worker is
%%% `degraded' (its calls fail at once instead of waiting) and the delay doubles with each death, up to `max_delay'.
%%% A worker never gives up for good, and never takes anything else down.
%%% @private
-module(py_restart).

-export([new/1, died/2, excused/1]).
-export_type([budget/0]).

-opaque budget() :: #{
    max := non_neg_integer(),
    within := pos_integer(),
    delay := pos_integer(),
    max_delay := pos_integer(),
    deaths := [integer()],
    current := pos_integer()
}.

%% @doc A budget from a pool's `restart' option.
-spec new(#{atom() => non_neg_integer()}) -> budget().
new(#{delay := Delay} = Options) -> Options#{deaths => [], current => Delay}.

%% @doc Take note of a death at `Now' (milliseconds) and say how long to wait.
-spec died(Now :: integer(), budget()) -> {restarting | degraded, DelayMs :: non_neg_integer(), budget()}.
died(Now, #{max := Max, within := Within, delay := Delay, max_delay := MaxDelay, deaths := Deaths} = Budget) ->
    Recent = [Now | [Death || Death <- Deaths, Now - Death < Within]],
    case length(Recent) =< Max of
        true ->
            {restarting, delay(Recent, Delay), Budget#{deaths := Recent, current := Delay}};
        false ->
            #{current := Current} = Budget,
            Next = min(Current * 2, max(Delay, MaxDelay)),
            {degraded, Next, Budget#{deaths := lists:sublist(Recent, Max + 1), current := Next}}
    end.

%% The first death in a while is replaced at once.
delay([_], _Delay) -> 0;
delay(_, Delay) -> Delay.

%% @doc It ended in the middle of an import that took too long: nothing that the next one would have to wait for.
-spec excused(budget()) -> {restarting, DelayMs :: 0, budget()}.
excused(Budget) -> {restarting, 0, Budget}.
