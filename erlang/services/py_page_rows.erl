%%% @doc What the page shows, as rows: a bounded view of pools, workers, runs, services, sessions and environments.
%%%
%%% ```
%%%   take(History) -> {View, History}
%%%   View: #{node => #{..}, counts => #{..}, pools => [{Id, Row}], workers => [..], runs => [..], ..}
%%% '''
%%%
%%% A row changes only when what it says does: times are points of time, which the browser counts from, and are kept as they were where they
%%% differ by what measuring costs. Of each table the first rows are there, and how many there are of it; so a view has a size that does not depend
%%% on how much there is. Texts have a length and are UTF-8; no argument of a call is among them.
%%% @private
-module(py_page_rows).

-export([new/0, take/1, runs/2, run/1, most/0]).
-export_type([history/0, view/0, row/0]).

-record(history, {
    at_ms :: undefined | integer(),
    %% Of each worker its calls by then, of each service its requests, and of each call that runs since when.
    calls = #{} :: #{pid() | {service, binary()} => non_neg_integer()},
    rates = #{} :: #{pid() | {service, binary()} => number()},
    since = #{} :: #{term() => integer()},
    %% Of each pool and service how long its calls took, by then; the newest first. Environments are looked for on the disk, now and then.
    times = [] :: [{AtMs :: integer(), #{py_config:pool_name() | {service, binary()} => term()}}],
    environments = {undefined, []} :: {undefined | integer(), [row()]},
    %% Counting the runs of a large table takes long: when it was done last, what it took and what came of it.
    counted = {undefined, 0, #{}} :: {undefined | integer(), Ms :: non_neg_integer(), #{atom() => non_neg_integer()}}
}).
-opaque history() :: #history{}.
-type row() :: {Id :: binary(), #{atom() => term()}}.
-type view() :: #{atom() => [row()] | #{atom() => term()}}.

%% Rows of each table.
-define(MOST, #{pools => 64, workers => 256, runs => 200, services => 64, sessions => 100, environments => 64}).
-define(MOST_RUNNING, 3).
-define(MOST_NAME, 200).
-define(MOST_MESSAGE, 300).
-define(MOST_LONG_MESSAGE, 8_192).
-define(MOST_TRANSITIONS, 30).
%% Rates are those of at least so long; latencies those of the last minute, looked at each five seconds.
-define(RATE_MS, 1_000).
-define(SAMPLE_MS, 5_000).
-define(WINDOW_MS, 60_000).
%% Two times that differ by less are one.
-define(SAME_MS, 250).
-define(COUNT_SHARE, 20).

-spec new() -> history().
new() -> #history{}.

%% @doc How many rows a table has, at most.
-spec most() -> #{atom() => pos_integer()}.
most() -> ?MOST.

%% @doc What there is now. It asks each worker, for a second at the most, and never waits for Python.
-spec take(history()) -> {view(), history()}.
take(Before) ->
    Now = erlang:system_time(millisecond),
    Pools = lists:sort(py_registry:pools()),
    Workers = py_stats:workers(Pools),
    Services = py_page_services:list(),
    Next = environments(runs_counted(timed(Pools, Services, rated(Workers, Services, Before)))),
    {Tables, Since} = lists:mapfoldl(fun(Table, Acc) -> table(Table, Pools, Workers, Services, Now, Next, Acc) end, #{}, maps:keys(?MOST)),
    View = maps:from_list([{Table, Rows} || {Table, Rows, _} <- Tables]),
    Counts = maps:from_list([{Table, Count} || {Table, _, Count} <- Tables]),
    #history{counted = {_, _, States}, since = Known} = Next,
    {NodeRow, Kept} = node_row(Now, Known, Since),
    {View#{node => NodeRow, counts => Counts#{states => States}}, Next#history{since = Kept}}.

table(pools, Pools, Workers, _Services, _Now, History, Since) ->
    ByPool = maps:groups_from_list(fun(#{pool := Pool}) -> Pool end, Workers),
    Rows = [pool(Pool, maps:get(Pool, ByPool, []), History) || Pool <- first(pools, Pools)],
    {{pools, Rows, length(Pools)}, Since};
table(workers, _Pools, Workers, _Services, Now, History, Since) ->
    Runs = running_runs(),
    {Rows, Next} = lists:mapfoldl(fun(Worker, Acc) -> worker(Worker, Runs, Now, History, Acc) end, Since, first(workers, Workers)),
    {{workers, Rows, length(Workers)}, Next};
table(runs, _Pools, _Workers, _Services, _Now, #history{counted = {_, _, States}}, Since) ->
    {{runs, runs(#{}, last), lists:sum(maps:values(States))}, Since};
table(services, _Pools, _Workers, Services, _Now, #history{rates = Rates, times = Times}, Since) ->
    Rows = [
        py_page_services:row(Service, rate(maps:get({service, Name}, Rates, 0)), first_known({service, Name}, Times))
     || #{name := Name} = Service <- first(services, Services)
    ],
    {{services, Rows, length(Services)}, Since};
table(environments, _Pools, _Workers, _Services, _Now, #history{environments = {_, Rows}}, Since) ->
    {{environments, first(environments, Rows), length(Rows)}, Since};
table(sessions, _Pools, _Workers, _Services, Now, #history{since = Known}, Since) ->
    Sessions = py_session_sup:sessions(),
    {Rows, Next} = lists:mapfoldl(fun(Each, Acc) -> session(Each, Now, Known, Acc) end, Since, sessions(first(sessions, Sessions))),
    {{sessions, Rows, length(Sessions)}, Next}.

first(Table, Rows) -> lists:sublist(Rows, maps:get(Table, ?MOST)).

node_row(Now, Known, Since) ->
    {Uptime, _} = erlang:statistics(wall_clock),
    {Began, Kept} = stable(node, Now - Uptime, Known, Since),
    {ok, Version} = application:get_key(py, vsn),
    Row = #{
        name => py_page_text:clean(atom_to_binary(node()), ?MOST_NAME),
        version => list_to_binary(Version),
        otp => list_to_binary(erlang:system_info(otp_release)),
        os_pid => list_to_integer(os:getpid()),
        began_ms => Began,
        memory_bytes => erlang:memory(total) div 1_000_000 * 1_000_000,
        schedulers => erlang:system_info(schedulers_online)
    },
    {Row, Kept}.

%%% Pools and workers

pool(Pool, Workers, #history{rates = Rates, times = Times}) ->
    Running = lists:sum([length(Calls) || #{running := Calls} <- Workers]),
    InFlight = lists:sum([N || #{info := #{in_flight := N}} <- Workers]),
    Figures = py_registry:all_figures(Pool),
    #{restarts := Restarts, recycles := Recycles, errors := Errors} = py_figures:sum(Figures),
    {Wait, Run} = latencies(py_figures:histograms(Figures), first_known(Pool, Times)),
    {atom_to_binary(Pool), #{
        name => py_page_text:clean(atom_to_binary(Pool), ?MOST_NAME),
        workers => length(Workers),
        serving => length([W || #{info := #{state := serving}} = W <- Workers]),
        running => Running,
        queue => max(0, InFlight - Running),
        rate => rate(lists:sum([maps:get(Pid, Rates, 0) || #{worker := Pid} <- Workers])),
        wait => Wait,
        run => Run,
        memory_bytes => lists:sum([rounded(Bytes) || #{info := #{memory_bytes := Bytes}} <- Workers, is_integer(Bytes)]),
        restarts => Restarts,
        recycles => Recycles,
        errors => maps:filter(fun(_, Count) -> Count > 0 end, Errors)
    }}.

worker(#{worker := Pid, pool := Pool, slot := Slot} = Worker, Runs, Now, #history{rates = Rates, since = Known}, Since) ->
    Row = #{pool => py_page_text:clean(atom_to_binary(Pool), ?MOST_NAME), slot => Slot, rate => rate(maps:get(Pid, Rates, 0))},
    {Said, Next} = info(Worker, Now, Known, Since),
    {Running, Kept} = running(Worker, Runs, Now, Known, Next),
    {{list_to_binary(pid_to_list(Pid)), maps:merge(Row, maps:merge(Said, Running))}, Kept}.

info(#{info := Info, worker := Pid}, Now, Known, Since) ->
    #{os_pid := OsPid, state := State, in_flight := InFlight, restarts := Restarts, memory_bytes := Bytes, uptime_ms := Uptime} = Info,
    {Began, Next} = stable({up, Pid}, Now - Uptime, Known, Since),
    {
        #{
            os_pid => OsPid,
            state => State,
            in_flight => InFlight,
            restarts => Restarts,
            memory_bytes => if is_integer(Bytes) -> rounded(Bytes); true -> undefined end,
            began_ms => if Uptime > 0 -> Began; true -> undefined end
        },
        Next
    };
%% It is busy with something very large.
info(_Worker, _Now, _Known, Since) ->
    {#{os_pid => undefined, state => silent, in_flight => 0, restarts => 0, memory_bytes => undefined, began_ms => undefined}, Since}.

running(#{running := [_ | _] = Calls, worker := Pid} = Worker, Runs, Now, Known, Since) ->
    Longest = lists:sort(fun({_, A}, {_, B}) -> A >= B end, Calls),
    {Shown, Next} = lists:mapfoldl(
        fun({Name, Us}, Acc) ->
            {Began, More} = stable({call, Pid, Name}, Now - Us div 1_000, Known, Acc),
            {(called(Name, Worker, Runs))#{since_ms => Began}, More}
        end,
        Since,
        lists:sublist(Longest, ?MOST_RUNNING)
    ),
    {#{running => Shown, more => length(Calls) - length(Shown)}, Next};
running(_Worker, _Runs, _Now, _Known, Since) ->
    {#{running => [], more => 0}, Since}.

%% An attempt of a run is called by the run's own name.
called(<<"erl.calls.runs:run">>, #{info := #{os_pid := OsPid}}, Runs) when is_map_key(OsPid, Runs) ->
    {Id, Function} = maps:get(OsPid, Runs),
    #{name => Function, run => Id};
called(Name, _Worker, _Runs) ->
    #{name => py_page_text:clean(Name, ?MOST_NAME)}.

running_runs() ->
    case py_run_table:is_read() of
        true ->
            maps:from_list([
                {OsPid, {Id, py_page_text:clean(Function, ?MOST_NAME)}}
             || #{id := Id, process := #{os_pid := OsPid}, spec := #{function := Function}} <-
                    py_run_table:newest(#{state => 'RUNNING', limit => maps:get(workers, ?MOST)}, last)
            ]);
        false ->
            #{}
    end.

%% Of what was known then as what is now.
stable(Key, Ms, Known, Since) ->
    Point = case Known of
        #{Key := Before} when abs(Before - Ms) < ?SAME_MS -> Before;
        #{} -> Ms
    end,
    {Point, Since#{Key => Point}}.

%% Three digits say how many.
rate(PerSecond) when PerSecond >= 100 -> round(PerSecond);
rate(PerSecond) -> round(PerSecond * 10) / 10.

rounded(Bytes) -> Bytes div 100_000 * 100_000.

%%% What needs two looks

rated(Workers, Services, #history{at_ms = At, calls = Before} = History) ->
    Now = erlang:monotonic_time(millisecond),
    Calls = maps:from_list(
        [{Pid, Count} || #{worker := Pid, info := #{calls := Count}} <- Workers] ++
            [{{service, Name}, Count} || #{name := Name, requests := Count} <- Services]
    ),
    if
        At =:= undefined -> History#history{at_ms = Now, calls = Calls};
        Now - At < ?RATE_MS -> History;
        true ->
            Rate = fun(Pid, Count) -> max(0, Count - maps:get(Pid, Before, Count)) * 1_000 / (Now - At) end,
            History#history{at_ms = Now, calls = Calls, rates = maps:map(Rate, Calls)}
    end.

timed(Pools, Services, #history{times = Times} = History) ->
    Now = erlang:monotonic_time(millisecond),
    case Times of
        [{At, _} | _] when Now - At < ?SAMPLE_MS ->
            History;
        _ ->
            Sample = maps:from_list(
                [{Pool, py_figures:histograms(py_registry:all_figures(Pool))} || Pool <- first(pools, Pools)] ++
                    [{{service, Name}, Known} || #{name := Name, latencies := Known} <- first(services, Services)]
            ),
            %% One that is older than the window is where it begins.
            {Young, Old} = lists:splitwith(fun({At, _}) -> Now - At < ?WINDOW_MS end, Times),
            History#history{times = [{Now, Sample} | Young ++ lists:sublist(Old, 1)]}
    end.

latencies(Now, none) -> latencies(Now, {[], []});
latencies({WaitNow, RunNow}, {WaitThen, RunThen}) -> {latency(WaitNow, WaitThen), latency(RunNow, RunThen)}.

first_known(Key, Times) ->
    case [Known || {_, #{Key := Known}} <- lists:reverse(Times)] of
        [First | _] -> First;
        [] -> none
    end.

%% A pool that was started anew has fewer than it had.
latency(Now, Then) ->
    Between = case length(Now) =:= length(Then) of
        true -> lists:zipwith(fun(A, B) -> max(0, A - B) end, Now, Then);
        false -> Now
    end,
    #{p50_us := P50, p99_us := P99, count := Count} = py_figures:latency(Between),
    #{p50_us => P50, p99_us => P99, count => Count}.

%% Counting costs a twentieth of the time at the most.
runs_counted(#history{counted = {At, Took, _}} = History) ->
    Now = erlang:monotonic_time(millisecond),
    case py_run_table:is_read() of
        true when At =:= undefined; Now - At > ?COUNT_SHARE * Took ->
            Counts = py_run_table:counts(),
            History#history{counted = {Now, erlang:monotonic_time(millisecond) - Now, Counts}};
        true -> History;
        false -> History#history{counted = {undefined, 0, #{}}}
    end.

environments(#history{environments = {At, Before}} = History) ->
    Now = erlang:monotonic_time(millisecond),
    case At =:= undefined orelse Now - At > ?SAMPLE_MS of
        true ->
            Rows = case py_page_services:environments() of
                {ok, Some} -> Some;
                error -> Before
            end,
            History#history{environments = {Now, Rows}};
        false -> History
    end.

%%% Runs

%% @doc Runs that a filter lets through, the newest first, as many as a table has.
-spec runs(py_run_table:filter(), Before :: py_run_state:id() | last) -> [row()].
runs(Filter, Before) ->
    case py_run_table:is_read() of
        true -> [{Id, short(Run)} || #{id := Id} = Run <- py_run_table:newest(Filter#{limit => maps:get(runs, ?MOST)}, Before)];
        false -> []
    end.

short(#{state := State, message := Message, attempt := Attempt, most := Most, created_ms := Created, spec := Spec, transitions := Transitions} = Run) ->
    #{project := Project, function := Function, pool := Pool} = Spec,
    #{
        project => py_page_text:clean(Project, ?MOST_NAME),
        function => py_page_text:clean(Function, ?MOST_NAME),
        pool => py_page_text:clean(Pool, ?MOST_NAME),
        state => State,
        stopping => maps:get(is_stopping, Run) andalso State =:= 'RUNNING',
        message => py_page_text:clean(Message, ?MOST_MESSAGE),
        attempt => Attempt,
        most => Most,
        created_ms => Created,
        changed_ms => case Transitions of [{_, Ms, _} | _] -> Ms; [] -> Created end
    }.

%% @doc All that is shown of one run, but its log.
-spec run(py_run_state:id()) -> {ok, map()} | error.
run(Id) ->
    case py_run_table:is_read() andalso py_run_table:find(Id) of
        {ok, #{message := Message, transitions := Transitions, process := Process} = Run} ->
            Shown = [
                #{state => State, at_ms => Ms, message => py_page_text:clean(Said, ?MOST_MESSAGE)}
             || {State, Ms, Said} <- lists:reverse(lists:sublist(Transitions, ?MOST_TRANSITIONS))
            ],
            OsPid = case Process of #{os_pid := Known} -> Known; none -> undefined end,
            {ok, (short(Run))#{id => Id, message => py_page_text:clean(Message, ?MOST_LONG_MESSAGE), transitions => Shown, os_pid => OsPid}};
        _ ->
            error
    end.

%%% Sessions

%% All are asked at once.
sessions(Pids) ->
    Asked = [{Pid, gen_server:send_request(Pid, status)} || Pid <- Pids],
    Until = erlang:monotonic_time(millisecond) + 1_000,
    [
        {Pid, Status}
     || {Pid, Request} <- Asked,
        {reply, #{age_ms := _} = Status} <- [gen_server:receive_response(Request, max(0, Until - erlang:monotonic_time(millisecond)))]
    ].

session({Pid, Status}, Now, Known, Since) ->
    #{state := State, owner := Owner, os_pid := OsPid, calls := Calls, waiting := Waiting, restarts := Restarts, age_ms := Age} = Status,
    {Opened, Next} = stable({session, Pid}, Now - Age, Known, Since),
    {
        {list_to_binary(pid_to_list(Pid)), #{
            state => State,
            owner => py_page_text:clean(unicode:characters_to_binary(io_lib:format("~0tp", [Owner])), ?MOST_NAME),
            os_pid => OsPid,
            sandbox => maps:get(sandbox, Status),
            calls => Calls,
            waiting => Waiting,
            restarts => Restarts,
            opened_ms => Opened
        }},
        Next
    }.
