%%% @doc The options that say what values become on their way to Python and back: which there are, what each may be, and the flag that
%%% stands for it on the wire. Pure.
%%%
%%% Each is declared here and nowhere else, in {@link table/0} and as a type; a call takes them all, and a pool those that are not
%%% about single arguments and results. Python has the flags by the same names (`erl.codec.options'), the docs a row for each: tests
%%% compare them.
-module(py_mapping).

-export([table/0, of_pools/0, of_pool/1, flags/1, flags/2]).
-export_type([mapping/0, flags/0, strings/0, dicts/0, binaries/0, no_value/0, return/0, frames/0, arrays/0]).

-type strings() :: list | binary.
-type dicts() :: tagged | map.
-type binaries() :: str | bytes.
-type no_value() :: undefined | nil | none.
%% The atom that stands for Python's `None', both ways; the other two are atoms like any other.
-type return() :: value | ref.
-type frames() :: grid | columns | arrow.
-type arrays() :: opaque | value | shared.
-type mapping() :: #{
    strings => strings(),
    dicts => dicts(),
    binaries => binaries(),
    none => no_value(),
    return => return(),
    haystack => boolean(),
    frames => frames(),
    matrices => boolean(),
    arrays => arrays()
}.
-type flags() :: 0..8191.
%% What a wrapper call's arguments begin with. (16 is none of Erlang's: a Python that was started as ErlPort's sets it.)

-define(TABLE, #{
    strings => [{list, 0}, {binary, 1}],
    dicts => [{tagged, 0}, {map, 2}],
    binaries => [{str, 0}, {bytes, 4}],
    return => [{value, 0}, {ref, 8}],
    haystack => [{false, 0}, {true, 32}],
    frames => [{grid, 0}, {columns, 64}, {arrow, 128}],
    matrices => [{false, 0}, {true, 256}],
    arrays => [{opaque, 0}, {value, 512}, {shared, 1024}],
    none => [{undefined, 0}, {nil, 2048}, {none, 4096}]
}).
%% What one argument or one result is can't be said for all of a pool's calls.
-define(OF_CALLS, [binaries, return]).

%% @doc All of them, for {@link py_options:check/2}.
-spec table() -> py_options:table().
table() -> ?TABLE.

%% @doc Those that a pool may have for its calls.
-spec of_pools() -> py_options:table().
of_pools() -> maps:without(?OF_CALLS, ?TABLE).

%% @doc Those of a pool's options.
-spec of_pool(#{atom() => term()}) -> mapping().
of_pool(PoolOptions) -> maps:with(maps:keys(of_pools()), PoolOptions).

%% @doc The flags of these options; others among them are passed over.
-spec flags(#{atom() => term()}) -> flags().
flags(Options) -> flags(0, Options).

%% @doc The same where a pool says what a call does not.
-spec flags(OfPool :: flags(), #{atom() => term()}) -> flags().
flags(OfPool, Options) when map_size(Options) =:= 0 -> OfPool;
flags(OfPool, #{pool := _} = Options) when map_size(Options) =:= 1 -> OfPool;
flags(OfPool, #{timeout := _} = Options) when map_size(Options) =:= 1 -> OfPool;
flags(OfPool, Options) -> with(maps:to_list(Options), OfPool).

with([{Option, Value} | Rest], Flags) ->
    case ?TABLE of
        #{Option := Values} -> with(Rest, set(Value, Values, Flags));
        #{} -> with(Rest, Flags)
    end;
with([], Flags) ->
    Flags.

set(Value, [{Value, Flag} | Rest], Flags) -> set(Value, Rest, Flags bor Flag);
set(Value, [{_, Flag} | Rest], Flags) -> set(Value, Rest, Flags band bnot Flag);
set(_Value, [], Flags) -> Flags.
