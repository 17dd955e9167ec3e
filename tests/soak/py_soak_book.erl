%%% The books of a soak run: what was asked and answered, what may not be, and what has left its traces in both halves.
%%%
%%% One public table. `{{count, Work, Answer}, N}'; `{{open, Pid}, Work, Deadline}' while a process waits for an answer;
%%% `{{print, Token}, Printed, Answered}'; `{{token, Token}, ok | failed}' for what must have run once, or once at most;
%%% `{{violation, N}, What}'.
-module(py_soak_book).

-export([new/1, count/2, counts/0, violation/1, violations/0]).
-export([opened/2, closed/0, check_open/0, is_open/0]).
-export([token/0, begun_path/0, packages_path/0, ran/2, printed/1, print_answered/1, check_traces/0]).
-export([log/2]).

-define(TABLE, ?MODULE).
%% How much later than its deadline an answer may come on a machine that others use.
-define(LATE_MS, 5_000).
-define(MOST_VIOLATIONS, 50).

new(Directory) ->
    ets:new(?TABLE, [named_table, public, set, {write_concurrency, true}]),
    ets:insert(?TABLE, [{begun_path, filename:join(Directory, "begun")}, {packages_path, filename:join(Directory, "packages")}, {last_token, 0}, {violations, 0}]),
    ok.

count(Work, Answer) ->
    ets:update_counter(?TABLE, {count, Work, Answer}, 1, {{count, Work, Answer}, 0}).

counts() -> [{Work, Answer, Count} || [Work, Answer, Count] <- ets:match(?TABLE, {{count, '$1', '$2'}, '$3'})].

violation(What) ->
    case ets:update_counter(?TABLE, violations, 1) of
        Number when Number =< ?MOST_VIOLATIONS ->
            ets:insert(?TABLE, {{violation, Number}, What}),
            io:format(standard_error, "~nviolation: ~tP~n", [What, 60]);
        _ ->
            ok
    end.

violations() -> ets:lookup_element(?TABLE, violations, 2).

%%% Every call is answered, in time

%% The calling process waits for an answer from now on.
opened(_Work, infinity) -> ok;
opened(Work, Timeout) ->
    ets:insert(?TABLE, {{open, self()}, Work, erlang:monotonic_time(millisecond) + Timeout + ?LATE_MS}).

closed() -> ets:delete(?TABLE, {open, self()}).

check_open() ->
    Now = erlang:monotonic_time(millisecond),
    lists:foreach(
        fun({{open, Pid} = Key, Work, Deadline}) ->
            case is_process_alive(Pid) of
                true when Now > Deadline ->
                    %% Once.
                    ets:delete(?TABLE, Key),
                    violation({unanswered, Work, {late_ms, Now - Deadline + ?LATE_MS}, process_info(Pid, current_stacktrace)});
                true -> ok;
                false -> ets:delete(?TABLE, Key)
            end
        end,
        ets:match_object(?TABLE, {{open, '_'}, '_', '_'})
    ).

is_open() ->
    check_open(),
    ets:match(?TABLE, {{open, '$1'}, '_', '_'}) =/= [].

%%% What was answered has run once; what was not, once at most

token() -> ets:update_counter(?TABLE, last_token, 1).

begun_path() -> list_to_binary(ets:lookup_element(?TABLE, begun_path, 2)).

packages_path() -> list_to_binary(ets:lookup_element(?TABLE, packages_path, 2)).

ran(Token, Outcome) -> ets:insert(?TABLE, {{token, Token}, Outcome}).

printed(Token) -> ets:update_counter(?TABLE, {print, Token}, {2, 1}, {{print, Token}, 0, 0}).

print_answered(Token) -> ets:update_counter(?TABLE, {print, Token}, {3, 1}, {{print, Token}, 0, 0}).

%% Compares the traces with the answers; how many tokens left one.
check_traces() ->
    Runs =
        case file:read_file(ets:lookup_element(?TABLE, begun_path, 2)) of
            {ok, Bytes} -> runs(Bytes, #{});
            {error, enoent} -> #{}
        end,
    [violation({ran, Count, times, Token}) || {Token, Count} <- maps:to_list(Runs), Count > 1],
    [
        violation({answered_but_never_ran, Token})
     || [Token] <- ets:match(?TABLE, {{token, '$1'}, ok}), not is_map_key(Token, Runs)
    ],
    [
        violation({printed, Printed, times, Token, answered, Answered})
     || [Token, Printed, Answered] <- ets:match(?TABLE, {{print, '$1'}, '$2', '$3'}),
        Printed > 1 orelse Answered > Printed
    ],
    map_size(Runs).

runs(<<Token:64, Rest/binary>>, Acc) -> runs(Rest, maps:update_with(Token, fun(N) -> N + 1 end, 1, Acc));
runs(<<>>, Acc) -> Acc;
runs(Torn, Acc) ->
    violation({torn_trace, Torn}),
    Acc.

%%% The handler of `logger': records of Python's are counted, a process of ours that failed is a violation

log(#{meta := #{domain := [py, python]}}, _) ->
    count(logged, ok);
log(#{level := Level, msg := {report, #{label := {Kind, terminate}} = Report}}, _) when Kind =:= gen_server ->
    case Report of
        #{reason := {killed, _}} -> ok;
        #{reason := killed} -> ok;
        _ -> violation({Level, Report})
    end;
log(#{level := error, msg := {string, Text}}, _) ->
    violation({logged, Text});
log(#{level := error, msg := {Format, Args}}, _) when is_list(Args) ->
    violation({logged, unicode:characters_to_list(io_lib:format(Format, Args))});
log(_, _) ->
    ok.
