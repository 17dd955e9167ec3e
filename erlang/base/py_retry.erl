%%% @doc When a call that may run twice is made again: the option `retry', and what it says of a failure. Pure, but for the chance in
%%% its pauses.
%%% @private
-module(py_retry).

-export([is_policy/1, again/3]).
-export_type([policy/0, condition/0]).

-type condition() :: worker_down | node_down | overload | python | Class :: atom().
%% A failure of the bridge; any exception of Python's, or one of exactly this class, with its module: `builtins.OSError'.
-type policy() :: #{
    times := pos_integer(),
    on => [condition()],
    backoff => FirstMs :: non_neg_integer() | {FirstMs :: non_neg_integer(), MostMs :: non_neg_integer()}
}.
%% How often at the most, after which failures, and how long before. The pause doubles each time.

-define(PASSING, [worker_down, node_down, overload]).
-define(FIRST_MS, 10).
-define(MOST_MS, 2_000).
-define(MOST_TIMES, 1_000).

%% @doc Whether this is one, for the table of a call's options.
-spec is_policy(term()) -> boolean().
is_policy(#{times := Times} = Policy) when is_integer(Times), Times >= 1, Times =< ?MOST_TIMES ->
    map_size(maps:without([times, on, backoff], Policy)) =:= 0 andalso
        are_conditions(maps:get(on, Policy, ?PASSING)) andalso is_backoff(maps:get(backoff, Policy, ?FIRST_MS));
is_policy(_) ->
    false.

are_conditions([Condition | Rest]) -> is_condition(Condition) andalso are_conditions(Rest);
are_conditions(Rest) -> Rest =:= [].

%% A class without its module would never be met.
is_condition(Condition) when is_atom(Condition) ->
    lists:member(Condition, [python | ?PASSING]) orelse lists:member($., atom_to_list(Condition));
is_condition(_) ->
    false.

is_backoff({First, Most}) -> py_options:is_natural(First) andalso py_options:is_natural(Most) andalso First =< Most;
is_backoff(First) -> py_options:is_natural(First).

%% @doc Whether the call is made again after this error, and after how many milliseconds. `Before' repetitions were made.
-spec again(Error :: term(), Before :: non_neg_integer(), policy()) -> {again, Milliseconds :: non_neg_integer()} | give_up.
again(Error, Before, #{times := Times} = Policy) when Before < Times ->
    case lists:any(fun(Condition) -> is_met(Condition, Error) end, maps:get(on, Policy, ?PASSING)) of
        true -> {again, pause(Before, backoff(maps:get(backoff, Policy, ?FIRST_MS)))};
        false -> give_up
    end;
again(_Error, _Before, _Policy) ->
    give_up.

is_met(Condition, {py, Condition}) -> Condition =:= overload;
is_met(Condition, {py, {Condition, _}}) -> Condition =:= worker_down orelse Condition =:= node_down;
is_met(python, {python, _, _, _}) -> true;
is_met(Condition, {python, Condition, _, _}) -> not lists:member(Condition, ?PASSING);
is_met(_, _) -> false.

backoff({_, _} = Backoff) -> Backoff;
backoff(First) -> {First, max(First, ?MOST_MS)}.

%% Between a half and the whole: many that failed together do not come again together.
pause(Before, {First, Most}) ->
    Whole = min(Most, First bsl min(Before, 40)),
    Whole - rand:uniform(Whole div 2 + 1) + 1.
