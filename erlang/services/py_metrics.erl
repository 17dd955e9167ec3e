%%% @doc What pools, runs and sessions of this node do, in Prometheus' text format.
%%%
%%% ```
%%% 1> io:put_chars(py_metrics:text()).
%%% '''
%%%
%%% Nothing is named by what users name freely but pools, and functions not at all: so the text does not grow with what is called.
-module(py_metrics).

-export([text/0, text/1, content_type/0]).

-define(KINDS, [ok, python, timeout, cancelled, worker_down, overload, nested]).

%% @doc The text. It asks each worker what it does, for a second at the most, and never waits for Python.
-spec text() -> binary().
text() -> text([]).

%% @doc The same, with the figures of somebody else behind it.
-spec text([py_prometheus:family()]) -> binary().
text(More) -> py_prometheus:text(node_families() ++ pool_families() ++ run_families() ++ session_families() ++ More).

%% @doc What an HTTP answer says that the text is.
-spec content_type() -> binary().
content_type() -> py_prometheus:content_type().

node_families() ->
    {Uptime, _} = erlang:statistics(wall_clock),
    [
        gauge(<<"py_info">>, <<"The version of the application and of Erlang/OTP, as labels.">>, [
            {[{<<"version">>, version()}, {<<"otp">>, erlang:system_info(otp_release)}], 1}
        ]),
        gauge(<<"py_node_uptime_seconds">>, <<"How long the node runs.">>, [{[], Uptime / 1_000}]),
        gauge(<<"py_node_memory_bytes">>, <<"Memory that the BEAM has allocated.">>, [{[], erlang:memory(total)}]),
        gauge(<<"py_node_processes">>, <<"Erlang processes.">>, [{[], erlang:system_info(process_count)}]),
        gauge(<<"py_node_atoms">>, <<"Atoms, which are never freed.">>, [{[], erlang:system_info(atom_count)}]),
        gauge(<<"py_node_run_queue">>, <<"Erlang processes that wait for a scheduler.">>, [{[], erlang:statistics(total_run_queue_lengths)}])
    ] ++ shared_families(py_shared:info()).

%% None where the application stops.
shared_families(#{bytes := Bytes, released_bytes := Released, max_bytes := Most}) ->
    [
        gauge(<<"py_node_shared_bytes">>, <<"Shared memory in use.">>, [{[], Bytes}]),
        gauge(<<"py_node_shared_released_bytes">>, <<"Shared memory in use that was released and is still mapped.">>, [{[], Released}]),
        gauge(<<"py_node_shared_max_bytes">>, <<"The most shared memory that may be in use.">>, [{[], Most}])
    ];
shared_families({error, _}) ->
    [].

version() ->
    case application:get_key(py, vsn) of
        {ok, Version} -> Version;
        undefined -> ""
    end.

%%% Pools

pool_families() ->
    Pools = py_registry:pools(),
    Workers = maps:groups_from_list(fun(#{pool := Pool}) -> Pool end, py_stats:workers(Pools)),
    All = [{[{<<"pool">>, Pool}], maps:get(Pool, Workers, []), py_registry:all_figures(Pool)} || Pool <- lists:sort(Pools)],
    Each = fun(Name, Help, Value) -> gauge(Name, Help, [{Labels, Value(Some)} || {Labels, Some, _} <- All]) end,
    Sums = [{Labels, py_figures:sum(Figures), py_figures:histograms(Figures)} || {Labels, _, Figures} <- All],
    [
        Each(<<"py_pool_workers">>, <<"Workers that the pool has.">>, fun erlang:length/1),
        Each(<<"py_pool_workers_serving">>, <<"Workers that take calls.">>, fun(Some) -> length([S || #{info := #{state := serving}} = S <- Some]) end),
        Each(<<"py_pool_calls_running">>, <<"Calls that Python has begun and not ended.">>, fun running/1),
        Each(<<"py_pool_calls_waiting">>, <<"Calls that workers have and Python has not begun.">>, fun(Some) ->
            max(0, lists:sum([N || #{info := #{in_flight := N}} <- Some]) - running(Some))
        end),
        Each(<<"py_pool_memory_bytes">>, <<"Resident memory of the pool's interpreters together.">>, fun(Some) ->
            lists:sum([Bytes || #{info := #{memory_bytes := Bytes}} <- Some, is_integer(Bytes)])
        end),
        Each(<<"py_pool_references">>, <<"Python objects that Erlang holds references to.">>, fun(Some) ->
            lists:sum([N || #{info := #{references := N}} <- Some])
        end),
        {<<"py_calls_total">>, counter, <<"Calls that have ended, by how.">>, [
            {Labels ++ [{<<"outcome">>, Kind}], ended(Kind, Sum)} || {Labels, Sum, _} <- Sums, Kind <- ?KINDS
        ]},
        {<<"py_call_wait_seconds">>, histogram, <<"How long calls have waited before Python began them; the sum is within an eighth.">>, [
            {Labels, histogram(Wait)} || {Labels, _, {Wait, _}} <- Sums
        ]},
        {<<"py_call_run_seconds">>, histogram, <<"How long calls have run; the sum is within an eighth.">>, [
            {Labels, histogram(Run)} || {Labels, _, {_, Run}} <- Sums
        ]},
        {<<"py_worker_restarts_total">>, counter, <<"Interpreters that were started again after a death.">>, [
            {Labels, Count} || {Labels, #{restarts := Count}, _} <- Sums
        ]},
        {<<"py_worker_recycles_total">>, counter, <<"Interpreters that were replaced without one: max_calls, max_memory, by hand.">>, [
            {Labels, Count} || {Labels, #{recycles := Count}, _} <- Sums
        ]}
    ].

running(Workers) -> lists:sum([length(Calls) || #{running := Calls} <- Workers]).

ended(ok, #{calls := Calls, errors := Errors}) -> Calls - lists:sum(maps:values(Errors));
ended(Kind, #{errors := Errors}) -> maps:get(Kind, Errors).

histogram(Counts) ->
    {Buckets, SumUs} = py_figures:cumulative(Counts),
    {Buckets, SumUs, lists:sum(Counts)}.

%%% Runs and sessions

%% Where there were no runs nobody is started to say so.
run_families() ->
    case py_run_table:is_read() of
        true ->
            [gauge(<<"py_runs">>, <<"Durable runs that are kept, by state.">>, [
                {[{<<"state">>, string:lowercase(atom_to_binary(State))}], Count} || {State, Count} <- lists:sort(maps:to_list(py_run_table:counts()))
            ])];
        false ->
            []
    end.

session_families() -> [gauge(<<"py_sessions">>, <<"Sessions that are open.">>, [{[], length(py_session_sup:sessions())}])].

gauge(Name, Help, Samples) -> {Name, gauge, Help, Samples}.
