%%% @doc The options of what makes many calls: `scatter', `pmap', `preduce', streams, sources. Each takes those of its calls, too.
-module(py_parallel_options).

-export([check/2, stream/1, source/1]).
-export_type([scatter/0, pmap/0, preduce/0, checked/0, stream/0, source/0, report/0]).

-type report() :: #{done := non_neg_integer(), total := non_neg_integer(), elapsed_ms := non_neg_integer()}.
%% How far it is, for the fun of the option `progress'.
-type scatter() :: #{window => pos_integer(), atom() => term()}.
%% And those of {@link py_call_options:options()}, as below. `window': how many calls each worker has in hand at most.
-type pmap() :: #{
    chunk => pos_integer(),
    ordered => boolean(),
    errors => raise | return,
    item_timeout => timeout(),
    progress => boolean() | fun((report()) -> term()),
    retry => non_neg_integer(),
    window => pos_integer(),
    atom() => term()
}.
%% `errors': whether the first one ends the whole, or each result is `{ok, Value} | {error, Error}'; `item_timeout': that of each item, in
%% milliseconds; `chunk': items in a call; `retry': how often a chunk is repeated; `window': chunks that each worker has in hand at most.
-type preduce() :: #{
    chunk => pos_integer(),
    initial => term(),
    progress => boolean() | fun((report()) -> term()),
    retry => non_neg_integer(),
    window => pos_integer(),
    atom() => term()
}.
-type checked() :: #{atom() => term()}.
%% Checked and complete, but for `initial', `errors' and `item_timeout'.
-type stream() :: #{window => pos_integer(), atom() => term()}.
%% And those of {@link py_call_options:options()}. `window': how many items Python may be ahead.
-type source() :: #{binaries => py_mapping:binaries(), none => py_mapping:no_value()}.

%% @doc The options of a function that makes many calls, checked: those of each call, and its own with the defaults.
-spec check(scatter | pmap | pfold | preduce | pmap_reduce, term()) ->
    {ok, py_call_options:options(), checked()} | {error, py_options:problem()}.
check(Kind, Options) ->
    Own = table(Kind),
    case py_options:check(Options, [Own | of_calls(Kind)]) of
        {ok, Checked} ->
            Defaults = py_options:defaults(maps:without([initial, errors, item_timeout], Own)),
            {ok, maps:without(maps:keys(Own), Checked), maps:merge(Defaults, maps:with(maps:keys(Own), Checked))};
        Error ->
            Error
    end.

%% A chunk has its own way to be repeated.
of_calls(scatter) -> [py_call_options:again() | py_call_options:tables()];
of_calls(_Kind) -> py_call_options:tables().

%% @doc The options of a stream, checked: its window, and those of its calls.
-spec stream(term()) -> {ok, Window :: pos_integer(), py_call_options:options()} | {error, py_options:problem()}.
stream(Options) ->
    {Default, _, _} = Window = {256, positive, "a number of items, a positive integer"},
    case py_options:check(Options, [#{window => Window} | py_call_options:tables()]) of
        {ok, Checked} -> {ok, maps:get(window, Checked, Default), maps:remove(window, Checked)};
        Error -> Error
    end.

%% @doc The options of a source, checked.
-spec source(term()) -> {ok, source()} | {error, py_options:problem()}.
source(Options) -> py_options:check(Options, [maps:with([binaries, none], py_mapping:table())]).

table(scatter) ->
    #{window => {2, fun is_count/1, "a number of calls, 1 to 1000"}};
table(pmap) ->
    #{
        chunk => {undefined, fun is_count_of_items/1, "a number of items, at least 1"},
        ordered => [true, false],
        errors => [raise, return],
        item_timeout => {infinity, timeout},
        progress => {false, fun is_progress/1, "true, false or a fun of one argument"},
        retry => {0, natural, "a number of times, at least 0"},
        window => {2, fun is_count/1, "a number of chunks, 1 to 1000"}
    };
table(pfold) ->
    maps:remove(ordered, table(pmap));
table(Reduce) when Reduce =:= preduce; Reduce =:= pmap_reduce ->
    (maps:without([ordered, errors, item_timeout], table(pmap)))#{initial => {undefined, any, "any term"}}.

is_count(Value) -> is_integer(Value) andalso Value >= 1 andalso Value =< 1_000.

is_count_of_items(Value) -> is_integer(Value) andalso Value >= 1.

is_progress(Value) -> is_boolean(Value) orelse is_function(Value, 1).
