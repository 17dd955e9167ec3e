%%% A trace goes with a call to Python, and with what Python calls here; without OpenTelemetry, which needs applications that can't be had here.
-module(py_trace_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, headers/0]).
-export([
    a_call_is_in_the_trace_of_its_process/1,
    what_python_calls_here_is_in_its_trace/1,
    calls_in_the_background_are_in_the_trace_of_who_started_them/1,
    a_pool_that_lists_its_callbacks_lets_them_be_traced_and_no_others/1,
    headers_that_are_none_are_passed_over/1,
    a_trace_ends_with_its_function/1,
    log_records_say_pool_worker_and_call/1,
    log/2
]).

-define(PARENT, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").
-define(HEADERS, [{"Traceparent", ?PARENT}]).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [F || {F, 1} <- ?MODULE:module_info(exports), F =/= module_info, F =/= init_per_suite, F =/= end_per_suite].

init_per_suite(Config) ->
    ok = py_application:start([{default, #{size => 1, dicts => map, python_path => [?config(data_dir, Config)]}}]),
    Config.

end_per_suite(_Config) -> py_application:stop().

%% Python calls it.
headers() -> [{binary_to_list(Name), binary_to_list(Value)} || {Name, Value} <- py_trace:headers()].

traced(Fun) -> py_trace:with(?HEADERS, Fun).

known() -> #{"traceparent" => ?PARENT}.

a_call_is_in_the_trace_of_its_process(_Config) ->
    ?assertEqual(#{}, py:func(py_traced, headers)),
    ?assertEqual(known(), traced(fun() -> py:func(py_traced, headers) end)),
    ?assertEqual(known(), traced(fun() -> py:func('py_traced.headers', []) end)),
    %% Everything else is as it was: methods, constants, keywords, errors.
    traced(fun() ->
        ?assertEqual("2024-01-02", py:method({"date", {2024, 1, 2}}, isoformat)),
        ?assertEqual(42, py:func(builtins, int, [<<"101010">>], [{base, 2}])),
        ?assert(py:const(math, pi) > 3.14),
        ?assertEqual(1, py:attr(py:func(fractions, 'Fraction', [1, 3]), numerator)),
        ?assertError({python, 'builtins.ZeroDivisionError', "division by zero", []}, py:truediv(1, 0)),
        ?assertEqual([1.0, 2.0], py:pmap(math, sqrt, [1, 4]))
    end).

what_python_calls_here_is_in_its_trace(_Config) ->
    Parent = [{"traceparent", ?PARENT}],
    ?assertEqual([], py:func(py_traced, asks)),
    ?assertEqual(Parent, traced(fun() -> py:func(py_traced, asks) end)),
    ?assertEqual(Parent, traced(fun() -> py:func(py_traced, asks_later) end)).

calls_in_the_background_are_in_the_trace_of_who_started_them(_Config) ->
    ?assertEqual(known(), py:await(traced(fun() -> py:async(py_traced, headers, []) end))),
    ?assertEqual([known(), known()], py:gather(traced(fun() -> py:scatter(py_traced, headers, [[], []]) end))),
    ?assertEqual(#{}, py:await(py:async(py_traced, headers, []))).

a_pool_that_lists_its_callbacks_lets_them_be_traced_and_no_others(Config) ->
    Options = #{size => 1, python_path => [?config(data_dir, Config)]},
    {ok, _} = py:start_pool(listed, Options#{callbacks => [{?MODULE, headers}]}),
    ?assertMatch([_], traced(fun() -> py:func(py_traced, asks, [], #{pool => listed}) end)),
    ?assertError({callback_not_allowed, {erlang, date, 0}}, traced(fun() -> py:func(py_traced, date, [], #{pool => listed}) end)),
    ok = py:stop_pool(listed).

headers_that_are_none_are_passed_over(_Config) ->
    [
        ?assertEqual(#{}, py_trace:with(Headers, fun() -> py:func(py_traced, headers) end))
     || Headers <- [[], [{a, b}], [{"a", [x]}], lists:duplicate(17, {"a", "b"}), [{"a", lists:duplicate(9_000, $a)}], none]
    ].

a_trace_ends_with_its_function(_Config) ->
    ?assertError(tea, traced(fun() -> error(tea) end)),
    ?assertEqual([], py_trace:headers()),
    traced(fun() ->
        py_trace:with([], fun() -> ?assertEqual([], py_trace:headers()) end),
        ?assertEqual([{<<"traceparent">>, list_to_binary(?PARENT)}], py_trace:headers())
    end).

log_records_say_pool_worker_and_call(_Config) ->
    ok = logger:add_handler(?MODULE, ?MODULE, #{config => self()}),
    [#{worker := Worker}] = py:workers(default),
    Calls = [fun() -> py:func(py_traced, warns) end, fun() -> traced(fun() -> py:func(py_traced, warns) end) end],
    [
        begin
            Call(),
            receive
                {logged, #{py_logger := "tea"} = Metadata} ->
                    ?assertMatch(#{pool := default, worker := Worker, call := <<"py_traced:warns">>}, Metadata)
            after 60_000 -> ct:fail(no_record)
            end
        end
     || Call <- Calls
    ],
    ok = logger:remove_handler(?MODULE).

log(#{meta := Metadata}, #{config := Test}) -> Test ! {logged, Metadata}.
