%%% @doc How far a long operation is, told to a fun or shown in a line of the terminal.
%%% @private
-module(py_progress).

-export([new/3, wait_ms/1, tell/2, finish/2]).
-export_type([progress/0]).

-opaque progress() ::
    none
    | #{
        to := fun((py_parallel_options:report()) -> term()) | line,
        name := string(),
        total := non_neg_integer(),
        started := integer(),
        next := integer(),
        shown := non_neg_integer()
    }.
%% `started' and `next' are milliseconds of the monotonic clock, `shown' is the length of the line that stands there.

-define(EVERY_MS, 200).
%% What is over sooner needs no line.
-define(FIRST_LINE_MS, 1_000).

%% @doc For the option `progress'. `true' shows a line where the group leader is a terminal, from the first second on.
-spec new(boolean() | fun((py_parallel_options:report()) -> term()), Name :: string(), Total :: non_neg_integer()) -> progress().
new(false, _Name, _Total) ->
    none;
new(true, Name, Total) ->
    case io:columns() of
        {ok, _} -> new(line, Name, Total, ?FIRST_LINE_MS);
        {error, _} -> none
    end;
new(Fun, Name, Total) ->
    new(Fun, Name, Total, ?EVERY_MS).

new(To, Name, Total, FirstMs) ->
    Now = now_ms(),
    #{to => To, name => Name, total => Total, started => Now, next => Now + FirstMs, shown => 0}.

%% @doc How long it is until the next report is due.
-spec wait_ms(progress()) -> timeout().
wait_ms(none) -> infinity;
wait_ms(#{next := Next}) -> max(0, Next - now_ms()).

%% @doc Report if it is time to.
-spec tell(Done :: non_neg_integer(), progress()) -> progress().
tell(_Done, none) ->
    none;
tell(Done, #{next := Next} = Progress) ->
    case now_ms() of
        Now when Now < Next -> Progress;
        Now -> (report(Done, Progress))#{next := Now + ?EVERY_MS}
    end.

%% @doc The last report of a fun; the line goes away.
-spec finish(Done :: non_neg_integer(), progress()) -> ok.
finish(_Done, none) ->
    ok;
finish(_Done, #{to := line, shown := Shown}) ->
    cleared(Shown);
finish(Done, Progress) ->
    _ = report(Done, Progress),
    ok.

report(Done, #{to := line, name := Name, total := Total, started := Started, shown := Before} = Progress) ->
    Percent = 100 * Done div max(1, Total),
    Text = io_lib:format("~ts: ~w % (~w of ~w), ~w s", [Name, Percent, Done, Total, (now_ms() - Started) div 1000]),
    Length = iolist_size(Text),
    io:put_chars([$\r, Text, lists:duplicate(max(0, Before - Length), $\s)]),
    Progress#{shown := Length};
report(Done, #{to := Fun, total := Total, started := Started} = Progress) ->
    _ = Fun(#{done => Done, total => Total, elapsed_ms => now_ms() - Started}),
    Progress.

cleared(0) -> ok;
cleared(Length) -> io:put_chars([$\r, lists:duplicate(Length, $\s), $\r]).

now_ms() -> erlang:monotonic_time(millisecond).
