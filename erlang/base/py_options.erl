%%% @doc Options checked against a table of those that there are, and what is said of one that is none. Pure.
%%%
%%% Each kind of options has a module with its table: {@link py_pool_options}, {@link py_call_options}, {@link py_session_options},
%%% {@link py_parallel_options}; what maps values has {@link py_mapping}. The tables of what is checked in every call are literals,
%%% and none is put together for a check: it is given several.
%%% @private
-module(py_options).

-export([check/2, from_list/1, defaults/1, describe/1, is_natural/1, is_positive/1]).
-export_type([table/0, problem/0]).

-type table() :: #{atom() => entry()}.
-type entry() ::
    [value() | {value(), StandsFor :: term()}]
    | {Default :: term(), timeout}
    | {Default :: term(), check(), Expected :: unicode:chardata()}
    | {Default :: term(), check(), Expected :: unicode:chardata(), secret}.
%% All values that there are, the default first; or what is a value, and what that is for people. What is secret is not shown.
-type value() :: atom().
-type check() :: [value()] | any | atom | pid | timeout | positive | natural | fun((term()) -> boolean()).
-type problem() :: {unknown_option, term(), Known :: [atom()]} | {bad_option, atom(), term(), Expected :: unicode:chardata()}
    | {no_map, term()}.

%% The longest time that a timer of the run-time system takes.
-define(LONGEST_MS, 16#ffffffff).

%% @doc The options as they are, if each is in one of the tables and its value is one.
-spec check(term(), [table()]) -> {ok, #{atom() => term()}} | {error, problem()}.
check(Options, Tables) when is_map(Options) -> check_each(maps:to_list(Options), Options, Tables);
check(Options, _Tables) -> {error, {no_map, Options}}.

check_each([{Key, Value} | Rest], Options, Tables) ->
    case entry(Key, Tables) of
        unknown ->
            {error, {unknown_option, Key, known(Tables)}};
        Entry ->
            case is_value(Value, Entry) of
                true -> check_each(Rest, Options, Tables);
                false -> {error, {bad_option, Key, shown(Value, Entry), expected(Entry)}}
            end
    end;
check_each([], Options, _Tables) ->
    {ok, Options}.

known(Tables) -> lists:sort(lists:append([maps:keys(Table) || Table <- Tables])).

entry(Key, [Table | Rest]) ->
    case Table of
        #{Key := Entry} -> Entry;
        #{} -> entry(Key, Rest)
    end;
entry(_Key, []) ->
    unknown.

is_value(Value, Values) when is_list(Values) -> is_among(Value, Values);
is_value(Value, {_, Check}) -> passes(Value, Check);
is_value(Value, {_, Check, _}) -> passes(Value, Check);
is_value(Value, {_, Check, _, secret}) -> passes(Value, Check).

is_among(Value, [{Known, _} | Rest]) -> Value =:= Known orelse is_among(Value, Rest);
is_among(Value, [Known | Rest]) -> Value =:= Known orelse is_among(Value, Rest);
is_among(_Value, []) -> false.

passes(Value, timeout) -> is_timeout(Value);
passes(Value, atom) -> is_atom(Value);
passes(Value, pid) -> is_pid(Value);
passes(Value, positive) -> is_positive(Value);
passes(Value, natural) -> is_natural(Value);
passes(_Value, any) -> true;
passes(Value, Check) when is_function(Check) -> Check(Value);
passes(Value, Values) -> is_among(Value, Values).

is_timeout(Value) -> Value =:= infinity orelse is_natural(Value).

shown(_Value, {_, _, _, secret}) -> '...';
shown(Value, _Entry) -> Value.

expected(Values) when is_list(Values) -> lists:join(" | ", [atom_to_list(value(Value)) || Value <- Values]);
expected({_, timeout}) -> "milliseconds, a non-negative integer, or infinity";
expected(Entry) -> element(3, Entry).

value({Value, _StandsFor}) -> Value;
value(Value) -> Value.

%% @doc What `sys.config' has as a proplist as a map; anything else as it is, to be refused.
-spec from_list(term()) -> term().
from_list(Options) when is_list(Options) ->
    case lists:all(fun(Option) -> is_tuple(Option) andalso tuple_size(Option) =:= 2 end, Options) of
        true -> maps:from_list(Options);
        false -> Options
    end;
from_list(Options) ->
    Options.

%% @doc The default of each option.
-spec defaults(table()) -> #{atom() => term()}.
defaults(Table) ->
    maps:map(
        fun
            (_, [First | _]) -> value(First);
            (_, Entry) -> element(1, Entry)
        end,
        Table
    ).

%% @doc What is wrong, for people.
-spec describe(problem()) -> unicode:chardata().
describe({unknown_option, Key, Known}) ->
    Meant =
        case py_nearest:of_name(Key, Known) of
            {ok, Nearest} -> io_lib:format(" (did you mean ~tp?)", [Nearest]);
            none -> ""
        end,
    io_lib:format("unknown option ~tp~ts; there are ~ts", [
        py_excerpt:term(Key), Meant, lists:join(", ", [atom_to_list(K) || K <- Known])
    ]);
describe({bad_option, Key, '...', Expected}) ->
    io_lib:format("option ~tp must be ~ts", [Key, Expected]);
describe({bad_option, Key, Value, Expected}) ->
    io_lib:format("option ~tp must be ~ts, not ~tP", [Key, Expected, py_excerpt:term(Value), 12]);
describe({no_map, Term}) ->
    io_lib:format("options must be a map, not ~tP", [py_excerpt:term(Term), 12]).

%%% Values of several kinds of options

-spec is_natural(term()) -> boolean().
is_natural(Value) -> is_integer(Value) andalso Value >= 0 andalso Value =< ?LONGEST_MS.

-spec is_positive(term()) -> boolean().
is_positive(Value) -> is_natural(Value) andalso Value > 0.
